"""Stores the images of proofs in a bucket of an S3-compatible service.

Credentials and region are found as every program on that SDK finds them: in `AWS_…` variables, a
file, or the machine's role.
"""

from typing import Any, Final

from mallard_engine.core.bounded import ConfigError

_CONNECT_S: Final = 5
_READ_S: Final = 20
_TRIES: Final = 3
_MISSING: Final = frozenset({"NoSuchKey", "404"})


class BucketFiles:
    """A `ProofFiles` in a bucket.

    Args:
        bucket: its name.
        endpoint: the address of the service; None: that of AWS.

    Raises:
        ConfigError: the SDK is not installed, or has no region or a wrong endpoint.
    """

    def __init__(self, bucket: str, endpoint: str | None) -> None:
        try:
            import boto3  # noqa: PLC0415 - an optional dependency
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                "proofs_bucket needs boto3: install mallard-engine[s3]", "proofs_bucket"
            ) from None
        self._bucket = bucket
        self._errors = (BotoCoreError, ClientError)
        self._refusal: Any = ClientError
        config = Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            retries={"total_max_attempts": _TRIES, "mode": "standard"},
            # A self-hosted service rarely has a host name for each bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        try:
            self._client: Any = boto3.client("s3", endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"proofs_bucket: {error}", "proofs_bucket") from None

    def put(self, market: str, proof: str, data: bytes, media_type: str) -> None:
        """Store a file. Raises `OSError`."""
        self._call(
            "put_object",
            Key=_key(market, proof),
            Body=data,
            ContentType=media_type,
            ContentDisposition="attachment",
        )

    def get(self, market: str, proof: str) -> bytes | None:
        """Return a file; None if there is none. Raises `OSError`."""
        found = self._call("get_object", Key=_key(market, proof))
        if found is None:
            return None
        try:
            data: bytes = found["Body"].read()
        except self._errors as error:
            raise OSError(str(error)) from error
        return data

    def remove(self, market: str, proof: str) -> None:
        """Remove a file, if it is there. Raises `OSError`."""
        self._call("delete_object", Key=_key(market, proof))

    def _call(self, name: str, **fields: Any) -> Any:
        try:
            return getattr(self._client, name)(Bucket=self._bucket, **fields)
        except self._errors as error:
            code = error.response["Error"]["Code"] if isinstance(error, self._refusal) else ""
            if code in _MISSING:
                return None
            raise OSError(str(error)) from error


def _key(market: str, proof: str) -> str:
    return f"{market}/{proof}"
