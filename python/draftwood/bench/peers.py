"""Where peers live: `benches/baselines/peers.json` lists them, `make peers` builds what it names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from .arm import ArmSpec

__all__ = ["Peers", "find_checkout"]


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers of a checkout, and the folder of their environments and weights."""

    baselines: Path
    built: Path

    @classmethod
    def find(cls) -> Peers:
        """`$DRAFTWOOD_PEERS` names the folder of environments; `.peers` of the checkout without it.

        Errors
            InvalidArgument outside a checkout: a wheel carries no adapters.
        """
        checkout = find_checkout()
        if checkout is None:
            hint = "run it in a clone of the repository, after `make peers`"
            raise InvalidArgument.of("--peers", "in a folder with benches/baselines", str(Path.cwd()), hint)
        return cls(checkout / "benches/baselines", Path(os.environ.get("DRAFTWOOD_PEERS") or checkout / ".peers"))

    def arms(self, *, drafts: bool) -> list[ArmSpec]:
        """All peers as they decode plainly; with `drafts`, those that have drafts of their own with these as well."""
        listed = json.loads((self.baselines / "peers.json").read_text(encoding="utf-8"))
        arms = []
        for name, peer in listed.items():
            if drafts and peer["drafts"] is not None:
                arms.append(self._arm(f"{name} drafts", peer, peer["drafts"]))
            arms.append(self._arm(name, peer, {}))
        return arms

    def _arm(self, name: str, peer: dict[str, Any], more: dict[str, Any]) -> ArmSpec:
        weights = {key: self.built / "weights" / path for key, path in peer["weights"].items()}
        settings = {key: str(path) for key, path in weights.items()} | more
        environment = peer["environment"]
        python = None if environment is None else str(self.built / environment / "bin" / "python")
        adapter = self.baselines / peer["adapter"]
        return ArmSpec(name, adapter, settings, python=python, ours=False, needs=tuple(weights.values()))


def find_checkout() -> Path | None:
    """The clone that this is run in, or that the package is run from."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents):
        if (folder / "benches/baselines/peers.json").is_file():
            return folder
    return None
