"""What a bug, a disk or an enemy makes of bytes; from one seed always the same."""

from random import Random

#: What hurts most in the middle of a text.
PIECES = [
    b"1e999999",
    b"-1",
    b"null",
    b"NaN",
    b'"',
    b"{",
    b"]",
    b"9" * 40,
    b'"1_0"',
    b"true",
    b"\\ud800",
    b"0",
]


def damaged(content: bytes, dice: Random) -> bytes:
    """Return `content` changed in one to five places."""
    raw = bytearray(content)
    for _ in range(dice.randrange(1, 6)):
        damage(raw, dice)
    return bytes(raw)


def damage(raw: bytearray, dice: Random) -> None:
    """Change `raw` somewhere: other bytes, cut, doubled, moved, or a piece that hurts."""
    place, length = dice.randrange(len(raw) + 1), dice.randrange(1, 9)
    piece = raw[place : place + length]
    match dice.randrange(6):
        case 0:
            raw[place : place + length] = dice.randbytes(length)
        case 1:
            del raw[place:]
        case 2:
            raw[place:place] = piece * dice.randrange(1, 4)
        case 3:
            raw[place : place + length] = dice.choice(PIECES)
        case 4:
            del raw[place : place + length]
        case 5:
            raw += raw[: dice.randrange(1, 40)]
