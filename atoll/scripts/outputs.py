"""What may leave a call: the domain of each output, how many bits that is, and the gate that lets nothing else pass.

An answer is either all declared outputs, each in its domain, with at most so many declared reasons, or no decision.
Bits are counted in thousandths and rounded up: an answer out of n possible ones carries at most log2(n).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import comb
from typing import Any

from atoll.errors import AtollError
from atoll.scripts.manifest import MAX_WHOLE, Choice, Flag, Manifest, Number, Output

# What the moment of an answer can tell: it leaves one tick after its call came, or two, or four ..., at one of eight
# moments at most.
TIMING_MILLIBITS = 3000


def millibits(outcomes: int) -> int:
    """Thousandths of log2(outcomes), rounded up, exact; `outcomes` at least 1."""
    return int((outcomes**1000 - 1).bit_length())


def size(output: Output) -> int:
    """The number of values that an output can have."""
    if isinstance(output, Choice):
        return len(output.values)
    if isinstance(output, Flag):
        return 2
    return (output.range[1] - output.range[0]) // output.step + 1


def reason_sets(manifest: Manifest) -> int:
    """The number of sets of reasons that an answer can name."""
    return sum(comb(len(manifest.reasons), n) for n in range(manifest.maximum_reasons + 1))


def count(outputs: Iterable[Output], reasons: int, most: int) -> int:
    """The number of different answers with these outputs and at most `most` of so many reasons, or no decision."""
    product = sum(comb(reasons, n) for n in range(most + 1))
    for output in outputs:
        product *= size(output)
    return product + 1


def outcomes(manifest: Manifest, holds: bool = False) -> int:
    """The number of different answers to a call, no decision included.

    Args:
        holds: whether the owner holds some answers. One that is held and let go was possible before; one that is held
            and denied is one more outcome, which only a large number has.
    """
    return count(manifest.outputs.values(), len(manifest.reasons), manifest.maximum_reasons) + holds


def bits_per_call(manifest: Manifest, holds: bool) -> int:
    """Millibits that can leave with one call: its answer, and its timing. `holds`: as in `outcomes`."""
    return millibits(outcomes(manifest, holds)) + TIMING_MILLIBITS


def _coarse_number(output: Number, step: int) -> Number:
    low, high = output.range
    return Number(type="int64", range=(low, low + (high - low) // step * step), step=step, unit=output.unit)


def coarsen(manifest: Manifest, steps: Mapping[str, int], reasons: bool) -> Manifest:
    """The manifest with larger steps of some outputs, and without reasons if `reasons` is false.

    Raises:
        AtollError: `E_SCRIPT` names an output that is no number, or a step that is no multiple of the declared one.
    """
    outputs: dict[str, Output] = dict(manifest.outputs)
    for name, step in steps.items():
        output = outputs.get(name)
        if not isinstance(output, Number):
            raise AtollError("E_SCRIPT", f"limits.steps.{name}: {manifest.name} has no such number.")
        if not output.step <= step <= MAX_WHOLE or step % output.step:
            text = f"limits.steps.{name}: {step} is no multiple of the declared step {output.step}."
            raise AtollError("E_SCRIPT", text)
        outputs[name] = _coarse_number(output, step)
    changed: dict[str, Any] = {"outputs": outputs}
    if not reasons:
        changed |= {"reasons": {}, "maximum_reasons": 0}
    return manifest.model_copy(update=changed)


def _value(output: Output, declared: Output, value: Any) -> Any:
    """The value as it may leave, or None for one outside the domain."""
    if isinstance(output, Choice):
        return value if type(value) is str and value in output.values else None
    if isinstance(output, Flag):
        return value if type(value) is bool else None
    assert isinstance(declared, Number)  # coarsening keeps the kind of an output
    low, high = declared.range
    if type(value) is not int or not low <= value <= high or (value - low) % declared.step:
        return None
    # Towards the low end: a coarser amount never promises more than the exact one.
    return min(low + (value - low) // output.step * output.step, output.range[1])


def gate(declared: Manifest, allowed: Manifest, answer: Any) -> dict[str, Any] | None:
    """What leaves of an answer that came out of the sandbox; None is no decision.

    Args:
        declared: the package's manifest, which the answer must fit exactly.
        allowed: the manifest as the owner coarsened it; what leaves fits this one.
        answer: anything at all: whatever wrote it is not trusted.

    Returns:
        One value for each output, and `reasons`, declared codes in the order of the manifest.
    """
    if not isinstance(answer, dict):
        return None
    given = dict(answer)
    reasons = given.pop("reasons", [])
    if given.keys() != declared.outputs.keys() or not isinstance(reasons, list):
        return None
    if len(reasons) > declared.maximum_reasons or not all(type(r) is str for r in reasons):
        return None
    if len(set(reasons)) != len(reasons) or not set(reasons) <= declared.reasons.keys():
        return None
    out: dict[str, Any] = {}
    for name, output in allowed.outputs.items():
        value = _value(output, declared.outputs[name], given[name])
        if value is None:
            return None
        out[name] = value
    out["reasons"] = [code for code in declared.reasons if code in reasons] if allowed.reasons else []
    return out
