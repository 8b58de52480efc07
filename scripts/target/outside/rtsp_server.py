"""An RTSP server of GStreamer's: rtsp_server.py [PORT [WIDTHxHEIGHT [FOLDER]]], or --check.

It prints its port, then a line for every connection. The stream is `/test`, H.264 at 15 fps with a
key frame a second; FOLDER holds its pictures, 0000.jpg and on, shown over and over again.
Needs python3-gi, gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins good and ugly.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

FPS = 15
NEEDED = ("x264enc", "rtph264pay", "multifilesrc", "jpegdec", "clocksync")


def main(port: str = "0", size: str = "160x120", folder: str = "") -> None:
    """Serve until killed, or only see whether this machine can."""
    Gst.init(None)
    missing = [name for name in NEEDED if not Gst.ElementFactory.find(name)]
    if missing:
        sys.exit(f"rtsp_server.py: GStreamer has no {', '.join(missing)}; install its plugins")
    if port == "--check":
        return
    width, height = size.split("x")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        f"( {_pictures(folder)} ! videoconvert ! videoscale "
        f"! video/x-raw,format=I420,width={width},height={height} "
        f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} "
        "! rtph264pay name=pay0 )"
    )
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/test", factory)
    server.connect("client-connected", lambda *_: print("connection", flush=True))
    if not server.attach(None):
        sys.exit(f"rtsp_server.py: port {port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _pictures(folder: str) -> str:
    if not folder:
        return f"videotestsrc is-live=true ! video/x-raw,framerate={FPS}/1"
    return (
        f"multifilesrc loop=true location={folder}/%04d.jpg "
        f"caps=image/jpeg,framerate={FPS}/1 ! jpegdec ! clocksync"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
