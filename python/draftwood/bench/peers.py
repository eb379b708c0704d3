"""Where peers live: `benches/baselines/peers.json` lists them, `make peers` builds what it names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
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

    def arms(
        self,
        kind: str,
        stem: str,
        works: Set[str],
        rounding: float,
        *,
        drafts: bool = False,
        caches: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> list[ArmSpec]:
        """All peers that have weights of a type and can do all kinds of works, as they decode plainly.

        With `drafts`, those that have drafts of their own with these as well; with `caches`, each with every type of
        cache that it has, else with its usual one. `stem` names the files of the type, `rounding` is how far their
        log-probabilities may be from ours, `more` are settings for all.
        """
        listed = json.loads((self.baselines / "peers.json").read_text(encoding="utf-8"))
        arms = []
        for name, peer in listed.items():
            if not works <= set(peer["kinds"]):
                continue
            files = {key: by_type.get(kind, by_type.get("*")) for key, by_type in peer["files"].items()}
            if None in files.values():
                continue
            paths = {key: self.built / str(path).format(stem=stem) for key, path in files.items()}
            settings = {**peer.get("settings", {}).get(kind, {}), **(more or {})}
            settings |= {key: str(path) for key, path in paths.items()}
            for cache in peer["caches"] if caches else peer["caches"][:1]:
                called = f"{name} {cache}" if caches else name
                spec = self._arm(called, peer, {**settings, "cache": cache}, tuple(paths.values()), rounding)
                if drafts and peer["drafts"] is not None:
                    arms.append(replace(spec, name=f"{called} drafts", settings={**spec.settings, **peer["drafts"]}))
                arms.append(spec)
        return arms

    def _arm(
        self, name: str, peer: dict[str, Any], settings: dict[str, Any], needs: tuple[Path, ...], rounding: float
    ) -> ArmSpec:
        environment = peer["environment"]
        return ArmSpec(
            name,
            self.baselines / peer["adapter"],
            settings,
            python=None if environment is None else str(self.built / environment / "bin" / "python"),
            ours=False,
            rounding=rounding,
            cache=settings["cache"],
            compared=not peer.get("other_weights", False),
            needs=needs,
            install=peer.get("install", "make peers"),
        )


def find_checkout() -> Path | None:
    """The clone that this is run in, or that the package is run from."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents):
        if (folder / "benches/baselines/peers.json").is_file():
            return folder
    return None
