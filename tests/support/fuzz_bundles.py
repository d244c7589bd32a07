"""What reads containers, bundles, manifests, keys and counters, for `fuzzing`."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from bundles import Signer, bundle_of, relisted, with_manifest
from fuzz_files import emptied, write_artefact
from fuzzing import Attempt, Target
from mutators import NAMES, altered, damaged, text_of, zipped

from deploy.bundle import open_bundle
from deploy.container import is_bundle_name, read_container, write_container
from deploy.counters import raise_counter
from deploy.manifest import MANIFEST, SIGNATURE, Manifest
from deploy.signing import check_signature, describe_keys, keys_pinned_in, read_public_key
from deploy.store import Store

OWNER, STRANGER = Signer(1), Signer(2)
_NAMES = (*NAMES[:-1], "model/x", "a" * 200, "lpt1", "a.", "Readme.md", "check.npz", "runner.pyz")


def containers(folder: Path) -> Attempt:
    """A container is refused, or is what the writer would have written of its members."""
    members = {"b.txt": b"second", "a/one.bin": bytes(64), "__main__.py": b"", "a/two": b"2"}
    sound = write_container(members)

    def attempt(chance: random.Random) -> bool:
        content = damaged(sound, chance) if chance.randrange(3) else zipped(members, chance)
        assert write_container(read_container(content)) == content
        return True

    return attempt


def bundles(folder: Path) -> Attempt:
    """Only what the owner signed is taken with her key; and what is taken without one is whole."""
    sound = bundle_of(write_artefact(folder), OWNER, runner=False, counter=7)
    members = read_container(sound)
    path = emptied(folder / "here") / "any.bundle"
    keys = [STRANGER.public, OWNER.public]

    def content_of(chance: random.Random) -> bytes:
        kind = chance.randrange(5)
        if kind == 0:
            return damaged(sound, chance)
        if kind == 1:
            return zipped(members, chance)
        name = chance.choice([name for name in members if kind != 2 or name != MANIFEST])
        changed: dict[str, bytes | None] = {name: damaged(members[name], chance)}
        if not chance.randrange(4):
            changed = {
                chance.choice(_NAMES) if chance.randrange(2) else name: chance.choice((b"", None))
            }
        signer = chance.choice((None, STRANGER))
        if kind == 2:
            return relisted(sound, changed, signer)
        if kind == 3:
            return write_container(
                {**members, **{n: c for n, c in changed.items() if c is not None}}
            )

        def change(content: dict[str, Any]) -> None:
            new = altered(content, chance)
            content.clear()
            content.update(new if isinstance(new, dict) else {})

        return with_manifest(sound, change, signer)

    def attempt(chance: random.Random) -> bool:
        content = content_of(chance)
        path.write_bytes(content)
        bundle = open_bundle(path, None)
        bundle.vectors()
        assert open_bundle(path, keys[:1]).signed_by == STRANGER.public or content == sound
        assert open_bundle(path, keys[1:]).signed_by and content == sound
        return True

    path.write_bytes(sound)
    assert open_bundle(path, keys).signed_by == OWNER.public
    return attempt


def folders(folder: Path) -> Attempt:
    """A bundle that lies unpacked in a folder, for a web server."""
    sound = read_container(bundle_of(write_artefact(folder), OWNER, runner=False))
    place = folder / "site"

    def attempt(chance: random.Random) -> bool:
        emptied(place)
        for name, content in sound.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(content)
        path = place / chance.choice(list(sound))
        kind = chance.randrange(5)
        if kind == 0:
            path.unlink()
            path.symlink_to(
                chance.choice(("/etc/passwd", "README.md", "/dev/zero", ".", path.name))
            )
        elif kind == 1:
            path.unlink()
            path.mkdir()
        elif kind == 2:
            odd = chance.choice(
                [name for name in _NAMES[7:] if "\x00" not in name and "/" not in name]
            )
            (place / odd).write_bytes(b"")
        else:
            path.write_bytes(damaged(sound[path.relative_to(place).as_posix()], chance))
        return open_bundle(place, [OWNER.public]).signed

    return attempt


def manifests(folder: Path) -> Attempt:
    """A manifest is refused, or is the one form of what it says."""
    sound = read_container(bundle_of(write_artefact(folder), OWNER, runner=False))[MANIFEST]
    content = json.loads(sound)

    def attempt(chance: random.Random) -> bool:
        given = text_of(content, chance, indent=2) + b"\n"
        assert Manifest.parse(given).encode() == given
        return True

    Manifest.parse(sound)
    return attempt


def signatures(folder: Path) -> Attempt:
    """Signatures, and keys, public, private and pinned: none but the owner's is taken for hers."""
    from compressor.bundling.keys import keygen, read_private_key

    made = Path(keygen(folder / "own")["private"])
    private = made.read_bytes()
    members = read_container(bundle_of(write_artefact(folder), OWNER, runner=False))
    manifest, signature = members[MANIFEST], members[SIGNATURE]
    pem = OWNER.public.pem().encode()
    public, pinned = folder / "any.pub", folder / "pinned_keys.json"
    runner = folder / "runner.pyz"
    listed = describe_keys([OWNER.public, STRANGER.public])

    def attempt(chance: random.Random) -> bool:
        kind = chance.randrange(5)
        if kind == 0:
            given, of = text_of(json.loads(signature), chance, indent=2), manifest
            if chance.randrange(2):
                given, of = damaged(signature, chance), damaged(manifest, chance)
            check_signature(given, of, [OWNER.public])
            assert (given, of) == (signature, manifest)
        elif kind == 1:
            public.write_bytes(damaged(pem, chance, (b"-----", b"=", b"PRIVATE KEY", b"\n")))
            assert len(read_public_key(public).raw) == 32
        elif kind == 2:
            made.write_bytes(damaged(private, chance))
            read_private_key(made)
        elif kind == 3:
            pinned.write_bytes(text_of(json.loads(listed), chance))
            assert all(len(key.raw) == 32 for key in keys_pinned_in(pinned))
        else:
            inner = {"deploy/pinned_keys.json": text_of(json.loads(listed), chance), "a": b""}
            content = write_container(inner)
            runner.write_bytes(damaged(content, chance) if chance.randrange(2) else content)
            assert all(len(key.raw) == 32 for key in keys_pinned_in(runner))
        return True

    check_signature(signature, manifest, [OWNER.public])
    return attempt


def stores(folder: Path) -> Attempt:
    """What arrives at the store of a device: nothing outside of it, and only whole versions."""
    sound = bundle_of(write_artefact(folder), OWNER, runner=False, counter=7)[:2000]
    sha256 = hashlib.sha256(sound).hexdigest()
    place = folder / "store"
    shas = (sha256, sha256.upper(), "0" * 64, "../" + sha256[3:], "", sha256 + "\n", "x" * 64)

    def asked(store: Store, chance: random.Random) -> None:
        name = chance.choice(("a", "a", "a", "b", *_NAMES, ".counters"))
        sha = chance.choice((sha256, sha256, sha256, *shas))
        kind = chance.randrange(8)
        if kind < 4:
            content = damaged(sound, chance) if chance.randrange(3) == 0 else sound
            start = chance.choice((0, 0, store.received("a", sha256)[0], chance.randrange(2000)))
            size = chance.choice((len(content), len(content), len(sound), 0, -1, 2**40, 17))
            rest = [content[at : at + 999] for at in range(start, len(content), 999)]
            store.receive(name, sha, size, start, lambda _: rest.pop(0) if rest else b"")
        elif kind == 4:
            store.activate(name, sha, lambda path, _: path.read_bytes() == sound or 1 / 0)
        elif kind == 5:
            store.roll_back(name, lambda path, _: None)
        elif kind == 6:
            store.remove(name)
        else:
            store.status(name), store.received(name, sha), store.current(name)

    def attempt(chance: random.Random) -> bool:
        from deploy.errors import DeployError

        emptied(place)
        store, refusal = Store(place), None
        for _ in range(chance.randrange(1, 6)):
            try:
                asked(store, chance)
            except DeployError as error:
                refusal = error
        for file in place.rglob("*.bundle"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
        assert all(is_bundle_name(path.name) for path in place.iterdir())
        if refusal is not None:
            raise refusal
        return True

    return attempt


def counters(folder: Path) -> Attempt:
    """A damaged file of counters is refused, and never makes an older version newer."""
    key, digest = OWNER.public.identifier, "a" * 64
    sound = {key: {"counter": 7, "sha256": digest}, "0" * 16: {"counter": 2**53, "sha256": digest}}
    file = folder / ".counters" / "a.json"
    file.parent.mkdir()

    def attempt(chance: random.Random) -> bool:
        file.write_bytes(text_of(sound, chance))
        raise_counter(folder, "a", key, chance.choice((None, 1, 6, 7, 8, 2**53)), "b" * 64)
        return True

    return attempt


TARGETS: dict[str, Target] = {
    "containers": Target(containers, 8, quick=600),
    "bundles": Target(bundles, 5, quick=400),
    "folders": Target(folders, 1, quick=100),
    "manifests": Target(manifests, 5),
    "signatures": Target(signatures, 4),
    "stores": Target(stores, 3, quick=200),
    "counters": Target(counters, 2, quick=200),
}
