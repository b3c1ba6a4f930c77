"""Parameter groups: which parameters of a network training treats in their own way."""

from __future__ import annotations

from torch import nn

from segaware.nn.hardness import hardness_parameters


def parameter_groups(network: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Return all parameters of a network by group and name, for the groups of an optimizer.

    A network declares its groups by a method ``parameter_groups(self) -> dict[str, list[nn.Parameter]]``: here "head"
    (the layers that score), "embedding", and "hardness", which has no weight decay. Without it, and for parameters that
    it leaves out, every hardness is in "hardness" and everything else in "base".

    Args:
        network: Any network.

    Returns:
        The groups that are not empty: "base", those declared, and "hardness", in the order that checkpoints keep.

    Example:
        >>> from segaware.models import DeepLabLargeFOV
        >>> groups = parameter_groups(DeepLabLargeFOV(21, width=0.125))
        >>> {group: len(parameters) for group, parameters in groups.items()}
        {'base': 30, 'head': 2}
    """
    declared: dict[str, list[nn.Parameter]] = getattr(network, "parameter_groups", dict)()
    group_of = {parameter: group for group, parameters in declared.items() for parameter in parameters}
    group_of |= dict.fromkeys(hardness_parameters(network), "hardness")
    order = ["base", *(group for group in declared if group != "hardness"), "hardness"]
    groups: dict[str, dict[str, nn.Parameter]] = {group: {} for group in order}
    for name, parameter in network.named_parameters():
        groups[group_of.get(parameter, "base")][name] = parameter
    return {group: parameters for group, parameters in groups.items() if parameters}
