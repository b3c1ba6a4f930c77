"""Networks in folders and on the Hugging Face Hub, in the layout of huggingface_hub's `PyTorchModelHubMixin`.

That mixin would have to be a base class, and so be imported with segaware. What it writes is simple: the constructor
arguments of the network in config.json, its weights in model.safetensors, and a README.md.
"""

from __future__ import annotations

import inspect
import json
import re
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from segaware.atomic import replaced, write_atomically
from segaware.extras import import_extra

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
METADATA = "config"  # in a file of weights on its own: what a folder has as config.json
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_CLASSES: dict[str, type[Configured]] = {}

Network = TypeVar("Network", bound="Pretrained")


class Configured(nn.Module):
    """A module that knows its constructor arguments.

    Attributes:
        config: All constructor arguments by name, those left at their defaults too, and the name of the class as
            "class". An argument that is a `Configured` module stands there as its own `config`.
    """

    config: dict[str, Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # torch.export makes subclasses, of the same name, of the modules that it traces: they are not meant.
        if cls.__name__ not in (parent.__name__ for parent in cls.__mro__[1:]):
            _CLASSES[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Configured:  # noqa: D102 - as __init__
        self = super().__new__(cls)
        # Partial, because a copy is made without arguments, and because a missing one is reported by __init__.
        bound = inspect.signature(cls.__init__).bind_partial(None, *args, **kwargs)
        bound.apply_defaults()
        values = {name: v.config if isinstance(v, Configured) else v for name, v in bound.arguments.items()}
        del values["self"]
        object.__setattr__(self, "config", {"class": cls.__name__, **values})
        return self


class Pretrained(Configured):
    """A network that is saved into a folder or to the Hugging Face Hub, and loaded from there.

    Example:
        >>> import tempfile
        >>> network = EmbeddingNet(width=0.125, dim=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network.save_pretrained(folder)
        ...     loaded = EmbeddingNet.from_pretrained(folder)
        >>> torch.equal(loaded.fuse.weight, network.fuse.weight)
        True
    """

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the network into a folder: config.json, model.safetensors, and a README.md if there is none.

        Args:
            folder: The folder, made if it is not there.

        Raises:
            ValueError: If a constructor argument cannot be written, such as an embedding that is not segaware's.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        config = self.config_text()
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with replaced(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, {"format": "pt", METADATA: config})
        write_atomically(folder / CONFIG, config.encode())
        if not (folder / CARD).exists():
            write_atomically(folder / CARD, self._card().encode())

    def push_to_hub(self, repo_id: str, private: bool | None = None, commit_message: str | None = None) -> str:
        """Write the network to a repository of the Hugging Face Hub, as `huggingface-cli login` has given access to.

        Args:
            repo_id: Name of the repository, "owner/name"; made if it is not there.
            private: Whether a new repository is private; None leaves that to the owner's default.
            commit_message: What the commit says.

        Returns:
            The address of the commit.

        Raises:
            ModuleNotFoundError: If huggingface_hub is not installed.
            ValueError: As `save_pretrained`.
        """
        self.config_text()  # before anything is made
        api = _hub().HfApi()
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            message = commit_message or f"{type(self).__name__} of segaware"
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message))

    @classmethod
    def from_pretrained(cls: type[Network], path: str | Path, revision: str | None = None) -> Network:
        """Return a network that `save_pretrained` or `push_to_hub` wrote, or huggingface_hub's own mixin.

        Args:
            path: A folder, or the name of a repository on the Hugging Face Hub, "owner/name".
            revision: Branch, tag or commit of the repository; the newest of its main branch if not given.

        Returns:
            The network in evaluation mode, float32.

        Raises:
            FileNotFoundError: If there is no such folder or repository, or a file is missing there.
            ValueError: If the files are damaged, of another network, or pickles.
            ModuleNotFoundError: If `path` is a repository and huggingface_hub is not installed.
        """
        if Path(path).suffix.lower() in PICKLES:
            raise ValueError(f"{path} may be a pickle, which can run any code when it is read: wanted is safetensors")
        folder = Path(path) if Path(path).is_dir() else _downloaded(path, revision)
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{path} has no {name} (pickles such as pytorch_model.bin are not read)")
        network = cls._of_config((folder / CONFIG).read_bytes(), folder / CONFIG)
        try:
            from safetensors.torch import load_file

            network.load_state_dict(load_file(folder / WEIGHTS))
        except Exception as error:  # a damaged file and tensors of another network have errors of several kinds
            raise ValueError(
                f"{folder / WEIGHTS} is damaged, or not of the {cls.__name__} of {CONFIG}: "
                + str(error).split("\n\t")[:2][-1]  # below a headline, one line for every tensor
            ) from error
        # 1.5 times as fast as contiguous weights on a CPU.
        return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def _of_config(cls: type[Network], text: str | bytes, file: Path) -> Network:
        try:
            config = json.loads(text)
            name = config.get("class", cls.__name__)  # huggingface_hub's mixin does not write it
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{file} is damaged: it does not hold constructor arguments as JSON") from error
        if name != cls.__name__:
            raise ValueError(f"{file} is of a {name}, not of a {cls.__name__}: use {name}.from_pretrained")
        try:
            return _build(cls, config)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file} does not fit {cls.__name__}: {error}") from error

    def config_text(self) -> str:
        """Return the constructor arguments of the network as JSON.

        Raises:
            ValueError: If one cannot be written, such as an embedding that is not segaware's.
        """
        for name, value in self.config.items():
            try:
                json.dumps(value)
            except TypeError:
                raise ValueError(
                    f"{type(self).__name__} cannot be saved with {name}={type(value).__name__}: its class is not known"
                ) from None
        return json.dumps(self.config, indent=2, sort_keys=True)

    def _card(self) -> str:
        name = type(self).__name__
        return (
            "---\nlibrary_name: segaware\ntags: [segaware]\n---\n\n"
            f"# {name}\n\nA network of segaware. From a copy of this repository, or with its name on the Hub:\n\n"
            f"```python\nfrom {type(self).__module__} import {name}\n\n"
            f'network = {name}.from_pretrained("FOLDER or OWNER/NAME")\n```\n'
        )


def _build(cls: type[Any], config: dict[str, Any]) -> Any:
    """Construct a module from its config, and its arguments that are modules from theirs."""
    arguments = {name: value for name, value in config.items() if name != "class"}
    for name, value in arguments.items():
        if isinstance(value, dict):
            if value.get("class") not in _CLASSES:
                raise ValueError(f"{name} is of an unknown class, {value.get('class')!r}")
            arguments[name] = _build(_CLASSES[value["class"]], value)
    return cls(**arguments)


def _downloaded(path: str | Path, revision: str | None) -> Path:
    """Return the folder that a repository of the Hub was downloaded to."""
    if isinstance(path, Path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise FileNotFoundError(f"there is no folder {path}, and a repository on the Hugging Face Hub reads owner/name")
    hub = _hub()
    try:
        return Path(hub.snapshot_download(path, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        raise FileNotFoundError(
            f"there is no folder {path}, and no repository of that name on the Hugging Face Hub could be read: {error}"
        ) from error


def _hub() -> Any:
    return import_extra("huggingface_hub", "repositories on the Hugging Face Hub need huggingface_hub", "train")
