"""PyTorch's initial parameters from seed 0, without PyTorch.

Its generator is the Mersenne Twister, whose stream NumPy gives too, 24 bits a number.
Uniform numbers come out bit for bit, truncated normal ones within float32's rounding.
"""

import numpy as np

# A whole tensor is drawn again while one of its numbers has been out of bounds each
# time; the chance of that is 1/22, so 8 draws do for 100,000 numbers.
MOST_DRAWS = 8


def drawn(places):
    """Parameters by name.

    Args:
        places: of each, where it begins in the stream, its shape, and either lowest and
            highest value (equal for constants) or the standard deviation of a normal
            distribution cut off at two of them; then its first and last value.
    """
    ends = (at + MOST_DRAWS * int(np.prod(shape)) for at, shape, *_ in places.values())
    twister = np.random.MT19937()
    twister._legacy_seeding(0)
    bits = twister.random_raw(max(ends)) & (2**24 - 1)
    return {name: _tensor(bits, *place[:3]) for name, place in places.items()}


def _tensor(bits, at, shape, law):
    size = int(np.prod(shape))
    if len(law) == 2:
        return _uniform(bits[at : at + size], *law).reshape(shape)
    draws = bits[at : at + MOST_DRAWS * size].reshape(MOST_DRAWS, size)
    return (law[0] * _within_two(draws)).astype(np.float32).reshape(shape)


def _uniform(bits, low, high):
    """PyTorch's float32 uniform: one fused multiply-add of 24 random bits."""
    low, high = np.float32(low), np.float32(high)
    unit = bits.astype(np.float64) * 2.0**-24
    return (unit * np.float64(high - low) + np.float64(low)).astype(np.float32)


def _within_two(draws):
    """The first of each number's draws `[K, n]` that is at most 2, `[n]`."""
    x = np.stack([_normal(row) for row in draws])
    first = (np.abs(x) <= 2).argmax(0)
    return np.take_along_axis(x, first[None], 0)[0]


def _normal(bits):
    """PyTorch's float32 normal: Box and Muller's, on blocks of 16."""
    unit = bits.reshape(-1, 2, 8) * 2.0**-24
    radius, angle = np.sqrt(-2 * np.log1p(-unit[:, 0])), 2 * np.pi * unit[:, 1]
    return (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).ravel()
