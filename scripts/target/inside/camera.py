"""Tries the service with a camera of the kernel's driver vivid, inside the virtual machine."""

import claims.camera
import claims.camera_faults
import claims.camera_pictures
from proving import prove

if __name__ == "__main__":
    prove(
        (
            *claims.camera.CLAIMS,
            *claims.camera_faults.CLAIMS,
            *claims.camera_pictures.CLAIMS,
            *claims.camera.LAST,
        )
    )
