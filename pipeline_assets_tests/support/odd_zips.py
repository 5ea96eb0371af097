"""Well-formed archives in unusual forms: {name: (bytes, the content of each file)}."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from pipeline_assets_tests.support.zip_bytes import CONTENT, DESCRIPTOR, LONG, SHORT, UTF8, Part, build, deflated, zip64

_LETTERS = b"x" * 300 + b"\n"
_OF_PROGRAMS = {"movies.csv": CONTENT, "raw/große.txt": _LETTERS}
_MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: 17.0.15 (Debian)\r\n\r\n"

# What these programs wrote for the files in _OF_PROGRAMS, most with an entry for the folder.
_PROGRAMS = {
    "Info-ZIP: zip": (
        "P)h>@3IG5A00000Ay6B{Y<(60000&M000UA8~|-"
        "^c4=jEE@N|cRa6N80|4O*UI5_>UUhg2009I50000400000X=E&PX>@F53Nb85Wnpv*GAvSIZVFIK0|W{H00000001FS000000000"
        "0000001OOZWa$$EbRa6N80|4O*UI5_>UUhg2009I50000400000P)h>@6aWAK2mk;8Ay8lha<&Kn001ok000gE8~}1*cQ0phZ^NH"
        "uE_8TwRa6N80|4O*UI5_>UUhg2009I50000400000tEd<S!~!k=P)h*<9s>#h00000001FS8^mmV761SM761SM3IG@Y000000RR9"
        "1q=5hc003=oc4=jEE@N|cRa6B40|4O*UUhg2009I50000400000P)h*<9s>#h00000001FS0000000000000001OONS00000000m"
        "G?Lk@q0044fcP~{`1pos8;R{}Mcnbgl1ONa400aO4002-"
        "+0RkQa6aWAK2mk;8Ay8lha<&Kn001ok000gE7ytkO00031005+cm;e9(a$$EbXL4`DpJgs|cyv`%1pos8;R{}Mcnbgl1ONa400aO"
        "4002-+1qJ{B000930|4#-008I!00000"
    ),
    "Info-ZIP: zip -fd": (
        "P)h>@6aWYS2mk;8Ay5DS00000000&M000UA8~|-"
        "^c4=jEE@N|cRa6N80|4O*UI3E<Yjt=F009I50000400000%S_QJ$t=l9<ucUqNKGu^GSUf3%;N$8P)i308^mmV7ytkO761SMP)h>"
        "@6aWYS2mk;8Ay5DS00000001ok000gE8~}1*cQ0phZ^NHuE_8TwRa6N80|4O*UI3E<Yjt=F009I50000400000tEd<S!~!k=P)i3"
        "0U<7iu2mk;8Edc-kP)h*<9s?8r2mlBG001FS8^mmV7ytkO761SM3IG@Y000000RR91q=5hc003=oc4=jEE@N|cRa6B40|4O*UUhg"
        "2009I50000400000P)h*<9s?8r2mlBG001FSU<7iu2mk;8Edc-"
        "k4geSc000000RR91q=9Sz0044fcQ0phZ^NHuE_8TwRa6B40|4O*UUhg2009I50000400000P)h{{000000ssO4qyPW_%m4rY000"
    ),
    "Info-ZIP: zip - | cat": (
        "P)h>@6aWYS2mk;8Ay5DS00000000&M000UA8~|-"
        "^c4=jEE@N|cRa6N80|4O*UI3E<Yjt=F009I50000400000%S_QJ$t=l9<ucUqNKGu^GSUf3%;N$8P)i308^mmV7ytkO761SMP)h>"
        "@6aWYS2mk;8Ay5DS00000001ok000gE8~}1*cQ0phZ^NHuE_8TwRa6N80|4O*UI3E<Yjt=F009I50000400000tEd<S!~!k=P)i3"
        "0U<7iu2mk;8Edc-kP)h*<9s?8r2mlBG001FS8^mmV7ytkO761SM3IG@Y000000RR91q=5hc003=oc4=jEE@N|cRa6B40|4O*UUhg"
        "2009I50000400000P)h*<9s?8r2mlBG001FSU<7iu2mk;8Edc-"
        "k4geSc000000RR91q=9Sz0044fcQ0phZ^NHuE_8TwRa6B40|4O*UUhg2009I50000400000P)h{{000000ssO4qyPW_%m4rY000"
    ),
    "Info-ZIP: zip -fz": (
        "P)h>@EdT%j00000Ay6B{Y<>U#|NsC0|NjaAFaT|Dc4=jEE@N|cRa6N80|4O*UI3E<Yjt=F009I500004000000RRvH761SM00000"
        "761SM00000X=E&PX>@F53Nb85Wnpv*GAvSIZVFIK0|YGq000O8001FSU<7iu|NsC0|NsC04gfF!a$$EbXL4`DpJgs|cyv`%2>=5C"
        ";R{{>lLBjXcnbgl1ONa400aO4000315CAO!00000000O8000000066~7zM-vE&xzV0RkQaEdT%j00000Ay6B{Y<(6000960|NjaA"
        "Bme*a00031005+c00000ZEtpIWpgfLb9Pl!1pos8;R{}Mcnbgl1ONa400aO4000312mlrU00000002-"
        "+0RkQaEdT%j2mk;8Ay8lha<&Kn00960|NjmEBme*a00031005+cZU6uPa$$EbXL4`DpJgs|cyv`%1pos8;R{}Mcnbgl1ONa400aO"
        "4000312mmbs00000002-+1_mqu000000015XEdT%j0000000062000000006200000006uI00000007be00000002-"
        "+1_uBD0052w0000000031002-+1qJ{B000620sy=K00960|Nj60"
    ),
    "Info-ZIP: zip -z": (
        "P)h>@3IG5A00000Ay6B{Y<(60000&M000UA8~|-"
        "^c4=jEE@N|cRa6N80|4O*UI3E<Yjt=F009I50000400000X=E&PX>@F53Nb85Wnpv*GAvSIZVFIK0|XQR000O8001FSU<7iu2mk;"
        "8Edc-k4geega$$EbXL4`DpJgs|cyv`%2>=5C;R{{>lLBjXcnbgl1ONa400aO40066~7zM-vE&xzV0RkQa3IG5A00000Ay6B{Y<(6"
        "0000&M000UA7ytkO00031005+c00000ZEtpIWpgfLb9Pl!1pos8;R{}Mcnbgl1ONa400aO4002-"
        "+0RkQa6aWAK2mk;8Ay8lha<&Kn001ok000gE7ytkO00031005+cS^xk5a$$EbXL4`DpJgs|cyv`%1pos8;R{}Mcnbgl1ONa400aO"
        "4002-+1qJ{B000620sy1{00620000jFW^!+BAarPDAaiteWNB{"
    ),
    "Info-ZIP: zip -0 -X": (
        "P)h>@3IG5A00000Ay6B{Y<(60000&M000UA003=oc4=jEE@N|cX=E&PX>@F53Nb85Wnpv*GAvSIZVFIK0|W{H00000001FSU<7iu"
        "Edc-kEdc-"
        "k4gdfEa$$EbXL4`DpJgs|cyxGpczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAe"
        "tczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAe"
        "tczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAe"
        "tczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetcz6m"
        ">O928N0}22D0000003lEt#B6;Q0000M0000A00000000000001_fdBvi0Bvt}X=QURV{>*;O928N0}22D0000003lFd1ah`50RR9"
        "k0RR9F00000000000001_fj$5L0CHh>FK2RZ!=Gg?ba-@7O9ci10000200IDX0001&0RR9100"
    ),
    "Java 17: jar": (
        "P)h>@6aWYa2mlB;c3l7f0000000000000R91OQD%R6#9CPDU^O$^ZZZ08mQ@2mk;800IC20000008mQ<1QY-"
        "W2nYZOICfnC00000000000000K0000@MN~m8Nlr#DO+ijcMnzLpE=@-"
        "BP0Y(oOD!(Z4NEO5&dkrVQZUpr;N@~IN=+<DP0@9#1PYkz8R!|BDrmT*CS@k(Y4URMasdEPO9u!Yv$L5v0000t0000`O9KQH00;;"
        "O0000XPyhe`0000000000015yA0Bvt}X=QURV{>-POwlRHEXhgbGSu-"
        "%O)TLu(g{k;;{pIsO9u!W#B6;S0000M0000`O9KQ7000O80000XPyhe`000000000000aO40CHh>FHlPZ1QY-"
        "W2nYZG03lES00000000000000E0001TVRtWQa&N<*WiE7hbgQTs1;hd_08mQ@2w((qwg><K04)Ik08mQ-"
        "0u%rg00;;O00=mCT>t<800IC20000000{sD0000000000000000000@MN~m8Nlr#D{>lIVP)h*<6aW+e2nYxO2sn0K9ka8UH~;_u"
        "Hvj+t6aWAK0000000000002Dz002!zR6#9CPDU?HK~70VMN?ERO-"
        "4{l0Rj{N6aWYa2mk;8Ay6B{Y<(C2000&M000UA000000000000000w*UYDZEtpIWpgfLb9PWm0RjpD3IG5I00000Ay5DS0000000"
        "000000C40000000000000002LS*8a$$EbP)h*<6aW+e2nYxO001FSU<7iu2mk;8Edc-"
        "k4gdfE0000000000001cg0044fcQ0phZ^NHuE_8TwP)h{{000001poyABLM&aZ2<rP000"
    ),
    "Java 17: jar -0 --no-manifest": (
        "P)h>@3IG5I00000Ay6B{Y<(60000&M000UA1ORPsc4=jEE@N|c{>lIVX=E&PX>@F53Nb85Wnpv*GAvSIZVFIK0|W{H00;m8001FS"
        "0000000000000001ONa4a$$EbP)h>@3IG5I00000Ay8lha<(l2001ok000gE0044fcQ0phZ^NHuE_8TwczAetczAetczAetczAet"
        "czAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAet"
        "czAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAet"
        "czAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAet"
        "czAetczAetczAetczAetczAetczAetczAetczAetczAetczAetczAet3Q$V{0tx^M000O80000XP#eT-eHH)!02TlM015yE00000"
        "00000000000001OZ+2;Ab1q|ZcK*r$08mQ-"
        "0tx^M000O80000XPyhe`000000000000aO400000000000000&0001TVRtW3O9283015yA2mk;803lFd1ah`50RR9k0RR9F00000"
        "00000000000Av6F0CHh>FK2RZ!=Gg?ba-@7O9ci10000300RK30002J0RR9100"
    ),
}


def _python(**options: object) -> bytes:
    """Written by zipfile, with an entry for a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:  # type: ignore[arg-type]
        archive.writestr("raw/", b"")
        for name, content in _OF_PROGRAMS.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _python_streamed() -> bytes:
    """Written by zipfile to something that cannot seek, with zip64 in each local header."""
    written = bytearray()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: object) -> int:
            written.extend(bytes(content))  # type: ignore[call-overload]
            return len(bytes(content))  # type: ignore[call-overload]

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, content in _OF_PROGRAMS.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
    return bytes(written)


def _described(signature: bytes, sizes: str, **stated: int) -> bytes:
    """With a descriptor in one of its four forms."""
    values = struct.pack(f"<L2{sizes}", zlib.crc32(CONTENT), len(deflated(CONTENT)), len(CONTENT))
    return build(Part(flags=DESCRIPTOR, descriptor=signature + values, local=stated))


def _zip64_everywhere() -> bytes:
    sizes = (len(CONTENT), len(deflated(CONTENT)))
    limits = {"size": LONG, "packed": LONG}
    part = Part(
        local=limits,
        central=limits | {"offset": LONG, "disk": SHORT},
        local_extra=zip64(*sizes),
        central_extra=struct.pack("<2H3QL", 1, 28, *sizes, 0, 0),
    )
    shorts = dict.fromkeys(("disk", "directory_disk", "here", "count"), SHORT)
    return build(part, end=shorts | {"size": LONG, "offset": LONG}, zip64_end={})


def _unicode_path() -> bytes:
    path = struct.pack("<BL", 1, zlib.crc32(b"gro?e.csv")) + "große.csv".encode()
    extra = struct.pack("<2H", 0x7075, len(path)) + path
    return build(Part(b"gro?e.csv", local_extra=extra, central_extra=extra))


_ONE = {"movies.csv": CONTENT}
_NESTED = build(Part())

ODD_ARCHIVES: dict[str, tuple[bytes, Mapping[str, bytes]]] = {
    **{name: (base64.b85decode(text), _OF_PROGRAMS) for name, text in _PROGRAMS.items()},
    "Java 17: jar": (base64.b85decode(_PROGRAMS["Java 17: jar"]), {"META-INF/MANIFEST.MF": _MANIFEST} | _OF_PROGRAMS),
    "Python: stored": (_python(), _OF_PROGRAMS),
    "Python: deflated": (_python(compression=zipfile.ZIP_DEFLATED), _OF_PROGRAMS),
    "Python: streamed with zip64": (_python_streamed(), _OF_PROGRAMS),
    "a descriptor": (_described(b"PK\x07\x08", "L", crc=0, packed=0, size=0), _ONE),
    "a descriptor after a whole header": (_described(b"PK\x07\x08", "L"), _ONE),
    "a descriptor without signature": (_described(b"", "L", crc=0, packed=0, size=0), _ONE),
    "a long descriptor": (_described(b"PK\x07\x08", "Q", crc=0, packed=0, size=0), _ONE),
    "a long descriptor without signature": (_described(b"", "Q", crc=0, packed=0, size=0), _ONE),
    "zip64 everywhere": (_zip64_everywhere(), _ONE),
    "no entries": (build(), {}),
    "no entries, with zip64": (build(zip64_end={}), {}),
    "only folders": (build(Part(b"a/", b"", 0, attributes=0), Part(b"a/b/", b"", attributes=0o40755 << 16)), {}),
    "a folder after its file": (build(Part(b"a/b"), Part(b"a/", b"", method=0, attributes=0)), {"a/b": CONTENT}),
    "an empty file": (build(Part(content=b"")), {"movies.csv": b""}),
    "an empty file, stored": (build(Part(content=b"", method=0)), {"movies.csv": b""}),
    "an archive in it": (build(Part(b"inner.zip", _NESTED)), {"inner.zip": _NESTED}),
    "an archive in it, stored": (build(Part(b"inner.zip", _NESTED, method=0)), {"inner.zip": _NESTED}),
    "a comment of 65,535 bytes": (build(Part(), comment=b"c" * SHORT), _ONE),
    "a comment of an entry": (build(Part(comment=b"the list")), _ONE),
    "a CAFE field in both headers": (build(Part(local_extra=b"\xfe\xca\0\0", central_extra=b"\xfe\xca\0\0")), _ONE),
    "padding in the extra fields": (build(Part(local_extra=b"\0\0\0")), _ONE),
    "the directory in another order": (
        build(
            Part(b"a", at=1, local_name=b"b", content=b"1", local={}), Part(b"b", at=0, local_name=b"a", content=b"1")
        ),
        {"a": b"1", "b": b"1"},
    ),
    "UTF-8 by flag": (build(Part("große.csv".encode(), flags=UTF8, made_by=20)), {"große.csv": CONTENT}),
    "code page 437": (build(Part("große.csv".encode("cp437"), made_by=20)), {"große.csv": CONTENT}),
    "code page 437 that might be UTF-8": (build(Part(b"\xc3\xbc.csv", made_by=20)), {"├╝.csv": CONTENT}),
    "code page 437 from Unix": (build(Part("große.csv".encode("cp437"))), {"große.csv": CONTENT}),
    "UTF-8 from Unix without flag": (build(Part("große.csv".encode())), {"große.csv": CONTENT}),
    "a Unicode path": (_unicode_path(), {"große.csv": CONTENT}),
    "a name with a colon and blanks": (build(Part(b"at 10:00/my movies.csv")), {"at 10:00/my movies.csv": CONTENT}),
    "16 parts": (build(Part(b"/".join([b"a"] * 16))), {"/".join("a" * 16): CONTENT}),
    "a part of 255 bytes": (build(Part(b"a" * 255)), {"a" * 255: CONTENT}),
    "one case in different folders": (build(Part(b"a/x"), Part(b"b/X")), {"a/x": CONTENT, "b/X": CONTENT}),
}
