"""What repositories of ours say, checked: the only part of `signing` the aircraft carries.

declared: what a target says of itself. roots: our policy on roots. agree: two repositories, one
word. Nothing here imports tuf or cryptography, which the recorder must not carry; the modules that
do (composite, attested, resets) are imported from where they are.
"""

from signing.verify.agree import agree
from signing.verify.declared import (
    ATTESTORS_FIELD,
    BUNDLE_BYTES_MAX,
    CUSTOM_LIST_MAX,
    ISSUED_FIELD,
    MEDIA_FIELD,
    RELEASE_MAX,
    ROLLBACK_FIELD,
    SET_ID,
    SINCE_FIELD,
    TAIL_FIELD,
    UNTIL_FIELD,
    WITHDRAWN_FIELD,
    WITHIN_FIELD,
    Aircraft,
    Applicability,
    AttestationPolicy,
    TargetCustom,
    check_applicability,
    check_target_path,
    counters,
    director_path,
    image_path,
    inapplicable,
    name_of_path,
    narrower,
    parse_custom,
    set_id,
    tail_of_path,
)
from signing.verify.roots import (
    DIRECTOR_POLICY,
    IMAGE_POLICY,
    ROOT_THRESHOLD_MIN,
    RootPolicy,
    check_apart,
    check_root,
    issued_at,
    until,
)

__all__ = [
    "ATTESTORS_FIELD", "BUNDLE_BYTES_MAX", "CUSTOM_LIST_MAX", "DIRECTOR_POLICY", "IMAGE_POLICY",
    "ISSUED_FIELD", "MEDIA_FIELD", "RELEASE_MAX", "ROLLBACK_FIELD", "ROOT_THRESHOLD_MIN",
    "SET_ID", "SINCE_FIELD", "TAIL_FIELD", "UNTIL_FIELD", "WITHDRAWN_FIELD", "WITHIN_FIELD",
    "Aircraft", "Applicability", "AttestationPolicy", "RootPolicy", "TargetCustom", "agree",
    "check_apart", "check_applicability", "check_root", "check_target_path", "counters",
    "director_path", "image_path", "inapplicable", "issued_at", "name_of_path", "narrower",
    "parse_custom", "set_id", "tail_of_path", "until",
]  # fmt: skip
