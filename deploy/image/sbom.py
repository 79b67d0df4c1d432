"""The bill of materials of an image, CycloneDX 1.6 JSON.

In: an installed tree and the wheels it came from. Out: JSON, the same for the same tree.
"""

from __future__ import annotations

import email.parser
import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

SPACE = uuid.UUID("6d1f7a52-9a1e-5d0c-8f0e-2a6f3c1b7e40")  # of serial numbers; made once, at random


def sbom(site: Path, wheels: Path, name: str, version: str, epoch_s: int, own_sha256: str) -> str:
    """site: site-packages of the tree. own_sha256: of all our own files, which become one component."""
    own = Component(
        name=name, version=version, type=ComponentType.APPLICATION, bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=own_sha256)],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )  # fmt: skip
    made_of = list(_components(site, wheels))
    bom = Bom(
        components=made_of, serial_number=uuid.uuid5(SPACE, own_sha256 + _all(made_of)),
        metadata=BomMetaData(
            component=own, timestamp=datetime.fromtimestamp(epoch_s, UTC),
            properties=[Property(name="tailtwin:platform", value="CPython and glibc are the computer's own")],
        ),
    )  # fmt: skip
    bom.register_dependency(own, made_of)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _components(site: Path, wheels: Path) -> Iterator[Component]:
    by_name = {_key(path.name.split("-")[0]): path for path in wheels.glob("*.whl")}
    for folder in sorted(site.glob("*.dist-info")):
        about = email.parser.Parser().parsestr((folder / "METADATA").read_text())
        name, version = str(about["Name"]), str(about["Version"])
        wheel = by_name[_key(name)]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        purl = PackageURL("pypi", None, _key(name).replace("_", "-"), version)
        text = _license(about)
        yield Component(
            name=name, version=version, type=ComponentType.LIBRARY, purl=purl,
            bom_ref=str(purl), hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            description=about["Summary"],
            licenses=[LicenseFactory().make_from_string(text)] if text else [],
            properties=[Property(name="tailtwin:wheel", value=wheel.name)],
        )  # fmt: skip


def _license(about: Message) -> str:
    """As the package says it; the first line of a text that is a whole licence."""
    said = str(about["License-Expression"] or about["License"] or "").strip()
    classes = [
        c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if "License ::" in c
    ]
    return said.splitlines()[0][:100] if said else (classes or [""])[0]


def _key(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _all(components: list[Component]) -> str:
    return "".join(sorted(str(component.purl) for component in components))
