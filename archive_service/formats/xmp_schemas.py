"""XMP 2004 predefined schemas: which properties PDF/A-1 allows without declaring them, and of which type (6.7.2).

One line per property: `name type`. A type is a simple type, or `bag`, `seq`, `alt` of one, `lang` (language
alternatives), or `struct`. Closed choices are written with their values.
"""

from collections.abc import Mapping
from typing import Final

_DC: Final = """
contributor bag Text; coverage Text; creator seq Text; date seq Date; description lang; format Text; identifier Text;
language bag Text; publisher bag Text; relation bag Text; rights lang; source Text; subject bag Text; title lang;
type bag Text
"""
_XMP: Final = """
Advisory bag Text; BaseURL URL; CreateDate Date; CreatorTool Text; Identifier bag Text; MetadataDate Date;
ModifyDate Date; Nickname Text; Thumbnails alt struct
"""
_RIGHTS: Final = "Certificate URL; Marked Boolean; Owner bag Text; UsageTerms lang; WebStatement URL"
_MM: Final = """
DerivedFrom struct; DocumentID URL; History seq struct; ManagedFrom struct; Manager Text; ManageTo URL; ManageUI URL;
ManagerVariant Text; RenditionClass Text; RenditionParams Text; VersionID Text; Versions seq struct; LastURL URL;
RenditionOf struct; SaveID Integer; InstanceID URL
"""
_PDF: Final = "Keywords Text; PDFVersion Text; Producer Text"
_PHOTOSHOP: Final = """
AuthorsPosition Text; CaptionWriter Text; Category Text; City Text; Country Text; Credit Text; DateCreated Date;
Headline Text; Instructions Text; Source Text; State Text; SupplementalCategories Text;
TransmissionReference Text; Urgency Integer
"""
_TIFF: Final = """
ImageWidth Integer; ImageLength Integer; BitsPerSample seq Integer; Compression 1|6; PhotometricInterpretation 2|6;
Orientation 1|2|3|4|5|6|7|8; SamplesPerPixel Integer; PlanarConfiguration 1|2; YCbCrSubSampling seq Integer;
YCbCrPositioning 1|2; XResolution Rational; YResolution Rational; ResolutionUnit 2|3; TransferFunction seq Integer;
WhitePoint seq Rational; PrimaryChromaticities seq Rational; YCbCrCoefficients seq Rational;
ReferenceBlackWhite seq Rational; DateTime Date; ImageDescription lang; Make Text; Model Text; Software Text;
Artist Text; Copyright lang
"""
_EXIF: Final = """
ExifVersion Text; FlashpixVersion Text; ColorSpace 1|-32768|65535; ComponentsConfiguration seq Integer;
CompressedBitsPerPixel Rational; PixelXDimension Integer; PixelYDimension Integer; MakerNote Text; UserComment lang;
RelatedSoundFile Text; DateTimeOriginal Date; DateTimeDigitized Date; ExposureTime Rational; FNumber Rational;
ExposureProgram 0|1|2|3|4|5|6|7|8; SpectralSensitivity Text; ISOSpeedRatings seq Integer; OECF struct;
ShutterSpeedValue Rational; ApertureValue Rational; BrightnessValue Rational; ExposureBiasValue Rational;
MaxApertureValue Rational; SubjectDistance Rational; MeteringMode 0|1|2|3|4|5|6|255; LightSource Integer;
Flash struct; FocalLength Rational; SubjectArea seq Integer; FlashEnergy Rational; SpatialFrequencyResponse struct;
FocalPlaneXResolution Rational; FocalPlaneYResolution Rational; FocalPlaneResolutionUnit 2|3;
SubjectLocation seq Integer; ExposureIndex Rational; SensingMethod 1|2|3|4|5|7|8; FileSource 3; SceneType 1;
CFAPattern struct; CustomRendered 0|1; ExposureMode 0|1|2; WhiteBalance 0|1; DigitalZoomRatio Rational;
FocalLengthIn35mmFilm Integer; SceneCaptureType 0|1|2|3; GainControl 0|1|2|3|4; Contrast 0|1|2; Saturation 0|1|2;
Sharpness 0|1|2; DeviceSettingDescription struct; SubjectDistanceRange 0|1|2|3; ImageUniqueID Text;
GPSVersionID Text; GPSLatitude Coordinate; GPSLongitude Coordinate; GPSAltitudeRef 0|1; GPSAltitude Rational;
GPSTimeStamp Date; GPSSatellites Text; GPSStatus A|V; GPSMeasureMode 2|3; GPSDOP Rational; GPSSpeedRef K|M|N;
GPSSpeed Rational; GPSTrackRef T|M; GPSTrack Rational; GPSImgDirectionRef T|M; GPSImgDirection Rational;
GPSMapDatum Text; GPSDestLatitude Coordinate; GPSDestLongitude Coordinate; GPSDestBearingRef T|M;
GPSDestBearing Rational; GPSDestDistanceRef K|M|N; GPSDestDistance Rational; GPSProcessingMethod Text;
GPSAreaInformation Text; GPSDifferential 0|1
"""


def _read(text: str) -> Mapping[str, str]:
    lines = (line.strip().split(" ", 1) for line in text.replace("\n", " ").split(";") if line.strip())
    return {name: kind for name, kind in lines}  # noqa: C416 - dict() of it is not typed


PREDEFINED: Final[Mapping[str, Mapping[str, str]]] = {
    "http://purl.org/dc/elements/1.1/": _read(_DC),
    "http://ns.adobe.com/xap/1.0/": _read(_XMP),
    "http://ns.adobe.com/xap/1.0/rights/": _read(_RIGHTS),
    "http://ns.adobe.com/xap/1.0/mm/": _read(_MM),
    "http://ns.adobe.com/xap/1.0/bj/": {"JobRef": "bag struct"},
    "http://ns.adobe.com/xap/1.0/t/pg/": {"MaxPageSize": "struct", "NPages": "Integer"},
    "http://ns.adobe.com/pdf/1.3/": _read(_PDF),
    "http://ns.adobe.com/photoshop/1.0/": _read(_PHOTOSHOP),
    "http://ns.adobe.com/tiff/1.0/": _read(_TIFF),
    "http://ns.adobe.com/exif/1.0/": _read(_EXIF),
    "http://www.aiim.org/pdfa/ns/id/": {"part": "Integer", "amd": "Text", "conformance": "Text"},
    "http://www.aiim.org/pdfa/ns/extension/": {"schemas": "bag struct"},
}
"""Type of each property by namespace and name."""

SIMPLE: Final[Mapping[str, str]] = {
    "Text": r"(?s).*",
    "URL": r"(?s).*",
    "Integer": r"[+-]?\d+",
    "Boolean": r"True|False",
    "Rational": r"-?\d+/\d+",
    "Coordinate": r"\d{1,3},\d{1,2}(,\d{1,2}|\.\d+)[NSEW]",
    "Date": r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?)?)?",
}
"""Pattern of each simple type (XMP Specification, January 2004)."""
