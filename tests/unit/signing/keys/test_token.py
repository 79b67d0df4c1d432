"""PKCS#11 tokens: what is made in one stays in it, and each failure says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigError, Corrupt, Rejected, TailTwinError, Unreachable
from signing.keys import KeyFolder
from signing.keys.device import TokenKey
from tests.fakes.softhsm import PIN, tokens

pkcs11 = pytest.importorskip("pkcs11", reason="needs python-pkcs11 (extra signing-hsm)")
from signing.keys import token  # noqa: E402 - it needs that library

URI = "pkcs11:token=root?module-path="


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tokens(tmp_path_factory.mktemp("hsm"), ["root", "twice", "twice", "other"]) as path:
        yield path


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path, pin=lambda _: PIN)


def no_key(name: str, folder: KeyFolder) -> bool:
    return not list(folder.folder.glob(f"{name}.*"))


def test_the_private_object_is_sensitive_and_cannot_be_taken_out(
    module: str, keys: KeyFolder
) -> None:
    signer = keys.create("kept", URI + module)
    assert isinstance(signer, token.TokenSigner)
    with token.opened(signer.place, PIN) as session:
        private = token.private_of(session, signer.place)
        kind = pkcs11.Attribute
        assert private[kind.SENSITIVE] and private[kind.ALWAYS_SENSITIVE]
        assert not private[kind.EXTRACTABLE] and private[kind.NEVER_EXTRACTABLE]
        assert private[kind.PRIVATE] and private[kind.TOKEN] and not private[kind.DECRYPT]
        with pytest.raises(pkcs11.AttributeSensitive):
            private[kind.VALUE]


def test_the_file_says_where_the_key_is_and_nothing_secret(module: str, keys: KeyFolder) -> None:
    keys.create("told", URI + module)
    said = tomllib.loads((keys.folder / "told.toml").read_text())
    assert said.pop("id") and said == {
        "kind": "pkcs11", "module": module, "token": "root", "object": "told", "serial": "",
    }  # fmt: skip


def test_the_signer_of_securesystemslib_finds_the_same_key(
    module: str, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows a module by the environment and a key by its id, as a number."""
    from securesystemslib.signer import HSMSigner, Signer

    signer = keys.create("shared", URI + module)
    assert isinstance(signer, token.TokenSigner)
    monkeypatch.setenv("PYKCS11LIB", module)
    uri, key = HSMSigner.import_(int(signer.place.id, 16), "root", lambda _: PIN)
    assert key == signer.public_key
    theirs = Signer.from_priv_key_uri(uri, key, lambda _: PIN)
    signer.public_key.verify_signature(theirs.sign(b"metadata"), b"metadata")


def test_a_key_made_by_another_tool_is_taken_over_and_not_one_that_can_be_taken_out(
    module: str, keys: KeyFolder
) -> None:
    from pkcs11.util.ec import encode_named_curve_parameters

    place = TokenKey(module, "root", "theirs")
    for label, extractable in (("theirs", False), ("loose", True)):
        with token.opened(place, PIN, write=True) as session:
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp384r1")},
                local=True,
            )
            curve.generate_keypair(store=True, label=label,
                private_template={pkcs11.Attribute.EXTRACTABLE: extractable})  # fmt: skip
    with pytest.raises(Rejected, match="a key is there already"):
        keys.create("theirs", URI + module)
    assert no_key("theirs", keys)
    signer = keys.adopt("theirs", URI + module)
    assert signer.public_key.scheme == "ecdsa-sha2-nistp384"
    keys.public("theirs").verify_signature(keys.load("theirs").sign(b"x"), b"x")
    with pytest.raises(Rejected, match="can be taken out"):
        keys.adopt("loose", URI + module)
    with pytest.raises(Rejected, match="no such object"):
        keys.adopt("nobody", URI + module)
    with pytest.raises(Rejected, match="take over"):
        keys.adopt("nobody", "tpm:")
    assert no_key("loose", keys) and no_key("nobody", keys)


def test_a_key_whose_file_cannot_be_written_is_taken_back(
    module: str, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("signing.keys.device.write_new", full)
        with pytest.raises(OSError, match="No space"):
            keys.create("unkept", URI + module)
    assert no_key("unkept", keys)
    with pytest.raises(Rejected, match="no such object"):
        keys.adopt("unkept", URI + module)
    keys.create("unkept", URI + module)


def test_a_token_that_holds_another_key_by_now_is_said(
    module: str, keys: KeyFolder, tmp_path: Path
) -> None:
    signer = keys.create("swapped", URI + module)
    assert isinstance(signer, token.TokenSigner)
    signer.take_back()
    with pytest.raises(Rejected, match="no such object"):
        keys.load("swapped")
    with pytest.raises(Rejected, match="no such object"):
        signer.sign(b"x")
    newer = KeyFolder(tmp_path / "newer", pin=lambda _: PIN)
    newer.create("swapped", URI + module)
    (keys.folder / "swapped.toml").write_bytes((newer.folder / "swapped.toml").read_bytes())
    with pytest.raises(Rejected, match="another key"):
        keys.load("swapped")
    forged = token.TokenSigner(newer.load("swapped").place, keys.public("swapped"), lambda _: PIN)  # type: ignore[attr-defined]
    with pytest.raises(Corrupt, match="signed with another key"):
        forged.sign(b"x")


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        ("pkcs11:token=root?module-path=/no/such/module.so", ConfigError, "no such PKCS#11 module"),
        (f"pkcs11:token=root?module-path={os.path.realpath(__file__)}", ConfigError, "not a PKCS#11"),
        ("pkcs11:token=gone?module-path={module}", Unreachable, "there are: other, root, twice"),
        ("pkcs11:token=twice?module-path={module}", Rejected, "several tokens"),
        ("pkcs11:token=root;serial=99?module-path={module}", Unreachable, "no such token"),
        ("pkcs11:?module-path={module}", Rejected, "names no token"),
        ("pkcs11:token=root", Rejected, "no module"),
        ("pkcs11:token=root?module-path=softhsm.so", Rejected, "whole path"),
        ("pkcs11:token=root?module-path={module}&pin-value=1234", Rejected, "PIN does not belong"),
        ("pkcs11:token=root;token=other?module-path={module}", Rejected, "says 'token'"),
        ("pkcs11:token=root;slot-id=4?module-path={module}", Rejected, "says 'slot-id'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_uri_or_a_token_is_said(
    module: str, keys: KeyFolder, uri: str, error: type[TailTwinError], words: str
) -> None:
    with pytest.raises(error) as said:
        keys.create("none", uri.replace("{module}", module))
    assert words in str(said.value) and "1234" not in str(said.value)
    assert no_key("none", keys)


def test_percent_signs_of_a_uri_are_read_as_the_rfc_says() -> None:
    place = token.parse(
        "pkcs11:token=Root%20key%3B1;object=a%2Fb;id=%FF%00?module-path=/opt/m.so", "name"
    )
    assert (place.token, place.object, place.id) == ("Root key;1", "a/b", "ff00")


def test_a_wrong_pin_is_tried_once_and_asked_for_again(module: str, keys: KeyFolder) -> None:
    keys.create("asked", URI + module)
    answers, asked = iter(["000000", PIN]), list[str]()

    def pin(whose: str) -> str:
        asked.append(whose)
        return next(answers)

    signer = token.TokenSigner(
        TokenKey(module, "root", "asked"), keys.public("asked"), pin
    )  # fmt: skip
    with pytest.raises(Rejected, match="wrong PIN"):
        signer.sign(b"x")
    signer.sign(b"x")
    signer.sign(b"y")
    assert asked == ["the token root"] * 2


def test_tries_that_are_left_are_said_as_far_as_the_token_says() -> None:
    """SoftHSM only says that it counts, so with the flags of PKCS#11 v3.1, section 3.2."""
    flag = pkcs11.TokenFlag
    low = flag.USER_PIN_COUNT_LOW
    assert "says nothing" in token.wrong_pin(flag(0), "t").what
    assert "does not say how many" in token.wrong_pin(low, "t").what
    assert "one try is left" in token.wrong_pin(low | flag.USER_PIN_FINAL_TRY, "t").what
    locked = token.wrong_pin(low | flag.USER_PIN_FINAL_TRY | flag.USER_PIN_LOCKED, "t")
    assert "locked" in locked.what and "security officer" in locked.remedy


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        ("PinLocked", Rejected, "locked"),
        ("UserPinNotInitialized", Rejected, "no user PIN"),
        ("DeviceRemoved", Unreachable, "DeviceRemoved"),
    ],
)
def test_what_a_token_refuses_is_typed(
    module: str, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch, failure: str,
    error: type[TailTwinError], words: str,
) -> None:  # fmt: skip
    """Failures SoftHSM does not have, by a token that has them."""

    class Refusing:
        label, serial, flags = "root", b"1", pkcs11.TokenFlag(0)

        def open(self, **_: object) -> None:
            raise getattr(pkcs11.exceptions, failure)

    monkeypatch.setattr(token, "_token", lambda place: Refusing())
    with pytest.raises(error, match=words):
        keys.create("none", URI + module)


def test_without_the_library_the_remedy_names_the_extra(
    keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    for action in (keys.create, keys.adopt):
        with pytest.raises(ConfigError, match="no PKCS#11 library"):
            action("none", URI + "/lib/m.so")


def test_files_sign_without_the_libraries_of_devices(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pkcs11'] = sys.modules['tpm2_pytss'] = None\n"
        "from pathlib import Path; from signing.keys import KeyFolder\n"
        f"KeyFolder(Path({str(tmp_path)!r})).create('a', 'composite').sign(b'x')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
