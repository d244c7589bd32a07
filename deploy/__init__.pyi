from .artifact import Artifact as Artifact, read_artifact as read_artifact
from .bundle import Bundle as Bundle, open_bundle as open_bundle
from .errors import (
    ArtifactError as ArtifactError,
    BundleError as BundleError,
    DeployError as DeployError,
)
from .machine import describe_machine as describe_machine
from .manifest import Manifest as Manifest
from .measurement import LatencyStatistics as LatencyStatistics, measure_latency as measure_latency
from .signing import PublicKey as PublicKey, read_public_key as read_public_key
from .vectors import CheckVectors as CheckVectors
