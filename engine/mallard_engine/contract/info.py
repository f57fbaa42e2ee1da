"""What both documents say of the contract: its version, licence and example host."""

from typing import Final

VERSION: Final = "1.0.0"
LICENSE: Final = {
    "name": "Apache-2.0",
    "url": "https://www.apache.org/licenses/LICENSE-2.0",
}
HOST: Final = "127.0.0.1:8000"
HOST_IS: Final = "A node on this machine, where `mallard serve` listens by default"
