"""The run file: one HDF5 file per run. The only importer of h5py.

The image is built in memory and replaces the file by write, fsync, rename, so that a crash, a full disk or a second
writer never leaves half a file. Every file is read as if an enemy had written it.
"""

from landscape_cli.store.directions import Directions, beside, save_directions
from landscape_cli.store.guard import READERS, Arrays
from landscape_cli.store.layout_2018 import image_2018, names_2018
from landscape_cli.store.read import load
from landscape_cli.store.schema import SCHEMA, SCHEMA_VERSION, layout
from landscape_cli.store.write import Saver, image, save

__all__ = [
    "READERS", "SCHEMA", "SCHEMA_VERSION", "Arrays", "Directions", "Saver", "beside", "image", "image_2018", "layout",
    "load", "names_2018", "save", "save_directions",
]  # fmt: skip
