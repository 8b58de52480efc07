"""Which packages have free photographs, and where in them; docs/data.md says what each gave."""

from dataclasses import dataclass

SUITES = ("bullseye", "bookworm", "trixie", "sid")


@dataclass(frozen=True, slots=True)
class Source:
    """A Debian package; `pattern` keeps drawings and screenshots out that are known as such."""

    package: str
    suite: str = "bookworm"
    pattern: str = "usr/share/**/*"
    without: frozenset[str] = frozenset()
    """File names: looked at and found to be no view of anything, or of doubtful origin."""
    tree: str = ""
    """A folder from which on the path is that of the source; empty where it is another."""
    was_looked_at: bool = False
    """What is left are photographs, found by eye: the sieve would lose the grey and the soft."""

    def place_in_source(self, path: str) -> str:
        """Return what is left of an installed file's path from `tree` on."""
        return path[f"/{path}".index(f"/{self.tree}/") :] if self.tree else path


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
_PAINTED = frozenset(
    f"{name}_background.jpg"
    for name in (
        "Eglise_dAuvers-sur-Oise",
        "Gogh4",
        "PortraitOfPereTanguy",
        "Van_Gogh_The_Night_Cafe",
        "VincentVanGogh0012",
        "VincentVanGogh0013",
        "VincentVanGogh0019",
        "VincentVanGoghBridge",
    )
)
_DRAWN = frozenset(
    {
        "basketball-court2.png",
        "brick-wall1.jpg",
        "forest.jpg",
        "party-room.jpg",
        "room1.jpg",
        "room2.jpg",
        "room3.jpg",
        "school2.jpg",
        "spotlight-stage.jpg",
        "woods-and-bench.jpg",
    }
)
_RENDERED = frozenset(
    {"2004default.jpg", "planet-ascending.jpg", "rhythm.jpg", "string.jpg", "the-mouse.jpg"}
)
_PRINTED = frozenset(
    {"book-image.webp", "book-image-landing.webp", "link-in-bio-image.webp", "night_printing.jpg"}
)
_AGAIN = frozenset(  # parts of others
    {
        "botany-flowers-closeup.webp",
        "coming-soon-bg-image.webp",
        "grid-flower-1.webp",
        "poster-image-background.webp",
    }
)
_PYTHON = "usr/lib/python3/dist-packages"
_THEMES = "usr/share/wordpress/wp-content/themes"

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
    Source(  # later ones have other pictures, which their copyright file does not know
        "gcompris-qt-data",
        "bullseye",
        "usr/share/gcompris-qt/rcc/**/src/activities/[!p]*/resource/**/*.jp*g",
        without=_PAINTED | _PRINTED,
        tree="src",
        was_looked_at=True,
    ),
    Source(
        "scratch",
        pattern="usr/share/scratch/Media/Backgrounds/*/*",
        without=_DRAWN,
        was_looked_at=True,
    ),
    Source(
        "ukui-wallpapers",
        "sid",
        "usr/share/backgrounds/*.jpg",
        without=_RENDERED,
        was_looked_at=True,
    ),
    Source("kalzium-data", pattern="usr/share/kalzium/data/toolpics/*.jpg", was_looked_at=True),
    Source(
        "wordpress-theme-twentytwentyfive",
        "trixie",
        f"{_THEMES}/twentytwentyfive/assets/images/*.webp",
        without=_PRINTED | _AGAIN,
        was_looked_at=True,
    ),
    Source(
        "wordpress-theme-twentytwentyfour",
        "trixie",
        f"{_THEMES}/twentytwentyfour/assets/images/*[!e].webp",
        was_looked_at=True,
    ),
    Source("gem-doc", pattern="usr/share/gem/examples/10.glsl/img*.jpg", was_looked_at=True),
)
