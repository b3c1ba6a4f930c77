"""Parameter groups: which parameters of a network training treats in their own way."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from segaware.nn.hardness import hardness_parameters


@runtime_checkable
class HasParameterGroups(Protocol):
    """A network that says which of its parameters training treats in their own way."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return parameters by group, such as "head" and "embedding"; what is left out is "base".

        Those of "hardness" have no weight decay. The order is that of the optimizer's groups, which checkpoints keep.
        """
        ...


def parameter_groups(network: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Return all parameters of a network by group and name.

    Args:
        network: Any network. One with a method `parameter_groups`, see `HasParameterGroups`, has the groups that it
            declares. Every hardness is in the group "hardness", and all other parameters are in "base".

    Returns:
        The groups that are not empty: "base" first, then those that are declared, then "hardness".

    Example:
        >>> from segaware.models import DeepLabLargeFOV
        >>> groups = parameter_groups(DeepLabLargeFOV(21, width=0.125))
        >>> {group: len(parameters) for group, parameters in groups.items()}
        {'base': 30, 'head': 2}
    """
    declared = network.parameter_groups() if isinstance(network, HasParameterGroups) else {}
    group_of = {parameter: group for group, parameters in declared.items() for parameter in parameters}
    group_of |= dict.fromkeys(hardness_parameters(network), "hardness")
    order = ["base", *(group for group in declared if group != "hardness"), "hardness"]
    groups: dict[str, dict[str, nn.Parameter]] = {group: {} for group in order}
    for name, parameter in network.named_parameters():
        groups[group_of.get(parameter, "base")][name] = parameter
    return {group: parameters for group, parameters in groups.items() if parameters}
