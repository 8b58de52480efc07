"""Tries the service inside the container."""

import claims.faults
import claims.installing
import claims.running
import claims.sandbox
from proving import prove

if __name__ == "__main__":
    prove(
        (
            *claims.installing.FIRST,
            *claims.running.CLAIMS,
            *claims.sandbox.CLAIMS,
            *claims.faults.CLAIMS,
            *claims.installing.LAST,
        )
    )
