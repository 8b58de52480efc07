"""Which packages have free photographs, and where in them; docs/data.md says what each gave."""

from dataclasses import dataclass

SUITES = ("bullseye", "bookworm", "trixie")


@dataclass(frozen=True, slots=True)
class Source:
    """A Debian package; `pattern` keeps drawings and screenshots out that are known as such."""

    package: str
    suite: str = "bookworm"
    pattern: str = "usr/share/**/*"
    without: frozenset[str] = frozenset()
    """File names: looked at and found to be no view of anything, or of doubtful origin."""


_NO_VIEWS = frozenset(
    {
        "WindowsLogo.jpg",
        "imageTextN.png",
        "imageTextR.png",
        "pca_test1.jpg",
        "pic2.png",
        "pic4.png",
        "starry_night.jpg",
        "Celeste_cpeditor_post.jpg",
        "CA_artifical_B_Y.jpg",
        "Big_ben_cubic.jpg",
    }
)
_DOUBTFUL = frozenset({"messi5.jpg"})
_PYTHON = "usr/lib/python3/dist-packages"

SOURCES = (
    Source("budgie-backgrounds", "trixie"),
    Source("gnome-backgrounds", "bullseye"),  # later ones are rendered, or JPEG XL
    Source("kphotoalbum", pattern="usr/share/kphotoalbum/demo/*.jpg"),
    Source("lomiri-wallpapers-16.04"),
    Source("lomiri-wallpapers-20.04"),
    Source("mate-backgrounds"),
    Source("palapeli-data", pattern="usr/share/palapeli/collection/*"),
    Source("phosh-wallpapers", "trixie"),
    Source(
        "plasma-workspace-wallpapers", "bullseye", "usr/share/wallpapers/*/contents/images/*.jpg"
    ),
    Source("ukui-wallpapers"),
    Source(
        "opencv-doc",
        pattern="usr/share/doc/opencv-doc/examples/[dt]*/*",
        without=_DOUBTFUL | _NO_VIEWS,
    ),
    Source("hugin-data", pattern="usr/share/hugin/xrc/data/help_en_EN/*.jpg", without=_NO_VIEWS),
    Source("python3-skimage", pattern=f"{_PYTHON}/skimage/data/*"),
    Source("python3-sklearn", pattern=f"{_PYTHON}/sklearn/datasets/images/*"),
    Source("tuxpaint-data", "bullseye", "usr/share/tuxpaint/templates/*"),
    Source("tuxpaint-data", "trixie", "usr/share/tuxpaint/[st]*/*[a-z].jp*g"),
    Source("tuxpaint-stamps-default", "bookworm", "usr/share/tuxpaint/stamps/**/*"),
    Source("tuxpaint-stamps-default", "trixie", "usr/share/tuxpaint/stamps/**/*"),
)
