"""The two networks of the demo: a small convolutional one and a plain perceptron."""

from torch import nn


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def cnn() -> nn.Sequential:
    """Return a batch-norm CNN for 1x8x8 images and ten classes."""
    return nn.Sequential(
        conv_block(1, 16),
        conv_block(16, 32, stride=2),
        conv_block(32, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def mlp() -> nn.Sequential:
    """Return a perceptron with two hidden layers for 1x8x8 images and ten classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
