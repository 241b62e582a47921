"""XML signature core validation (XMLDSig 1.1 clause 3.2), strict about what is referenced and how it is transformed.

Signature wrapping works by making the verifier hash one element while the application reads another. Here every reference is
resolved to exactly one element of the same document by unique Id, only named transforms are run, and what is covered is
reported, so that "valid" never means "some element somewhere is signed".
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote
from xml.parsers import expat

from asn1crypto import x509
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm

from archive_service.digests import chunks
from archive_service.signatures.trust import parse_certificate
from archive_service.signatures.xml_values import XmlSignatureUnreadableError, signature_valid

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XADES: Final = "http://uri.etsi.org/01903/v1.3.2#"
NS: Final = {"ds": DS, "xades": XADES, "xades141": "http://uri.etsi.org/01903/v1.4.1#"}

MAX_XML_BYTES: Final = 64 * 1024 * 1024
"""A signed XML file is parsed into a tree of about ten times its size."""
MAX_REFERENCES: Final = 100
"""References of one signature; each costs a canonicalisation of what it names."""
MAX_TRANSFORMS: Final = 8
"""Transforms of one reference."""
MAX_DEPTH: Final = 200
"""Nesting depth; canonicalisation recurses."""

DEFAULT_PREFIX: Final = "#default"
"""Stands for the default namespace in the prefix list of exclusive canonicalisation (clause 3)."""
MAX_CANDIDATES: Final = 10
"""Certificates of one signature whose key is tried."""

ENVELOPED: Final = f"{DS}enveloped-signature"
BASE64: Final = f"{DS}base64"
XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"
XPATH_FILTER2: Final = "http://www.w3.org/2002/06/xmldsig-filter2"
_NOT_SIGNATURE: Final = re.compile(r"not\(ancestor-or-self::(?P<prefix>[A-Za-z_][\w.-]*):Signature\)")
_LESS_SIGNATURES: Final = re.compile(r"/descendant(-or-self)?::(?P<prefix>[A-Za-z_][\w.-]*):Signature")
"""The XPath transforms in wide use: they remove every signature, so that several people can sign one document."""
_NAMED_CERTIFICATES: Final = tuple(
    "ds:Object/xades:QualifyingProperties/xades:SignedProperties/xades:SignedSignatureProperties"
    f"/xades:{name}/xades:Cert/xades:CertDigest"
    for name in ("SigningCertificateV2", "SigningCertificate")
)
_XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"
ID_ATTRIBUTES: Final = ("Id", "ID", "id", f"{{{_XML_NAMESPACE}}}id")

Element = etree._Element  # noqa: SLF001 - lxml has no public name for its element type


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One ds:Reference, resolved and digested."""

    uri: str
    target: str
    """What was digested: `document`, `#id name`, a sibling's file name."""
    kind: str
    """Type attribute."""
    digest: str
    matches: bool
    whole_document: bool
    found: bool = True
    added_later: bool = False
    """The digest holds only once other signatures are taken away: they were added after this one."""
    element: Element | None = None
    """The element that was digested, None for a file."""
    left_out: tuple[Element, ...] = ()
    """Signatures in the element that transforms took away before it was digested."""
    with_comments: bool = True
    """Whether comments were digested."""
    octets: Callable[[Element | None], Iterator[bytes]] = lambda _: iter(())
    """What was digested, in pieces, for archive time-stamps; a node-set is made octets by the method given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlSignature:
    """The outcome of core validation."""

    references: tuple[Reference, ...]
    signature_valid: bool | None
    """None when there is no key to verify with."""
    certificate: x509.Certificate | None
    certificates: tuple[bytes, ...]
    method: str
    signature_value: bytes
    manifest: tuple[Reference, ...] = ()
    """What signed ds:Manifest elements refer to: core validation leaves these to the application (clause 2.3)."""


def parse(path: Path) -> etree._ElementTree:
    """Returns the parsed document; no entity, no network, no DTD is ever followed.

    Raises:
        XmlSignatureUnreadableError: too large, too deep, or with a document type declaration that defines entities.
        etree.XMLSyntaxError: not well-formed.
    """
    if path.stat().st_size > MAX_XML_BYTES:
        raise XmlSignatureUnreadableError(f"XML larger than {MAX_XML_BYTES} bytes")
    tree = etree.parse(path, _parser())
    declared = tree.docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise XmlSignatureUnreadableError("the document type declaration defines entities")
    if declared is not None and (declared.system_url or declared.external_id):
        raise XmlSignatureUnreadableError("the document type declaration names another file, which was not read")
    if declared is not None and _has_defaults(path):
        raise XmlSignatureUnreadableError("the document type declaration gives attributes default values")
    if any(True for _ in tree.getroot().iter(etree.Entity)):
        raise XmlSignatureUnreadableError("the document refers to entities")
    return tree


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=False,
        dtd_validation=False,
    )


def _has_defaults(path: Path) -> bool:
    """Returns whether a declaration adds attributes that belong to what was signed but are not read here.

    Expat is asked, because libxml2 does not list the attributes of elements that the declaration only names.
    """
    defaults: list[str] = []

    def declared(_element: str, _name: str, _type: str, default: str | None, _required: int) -> None:
        defaults.extend(() if default is None else (default,))

    parser = expat.ParserCreate()
    parser.AttlistDeclHandler = declared
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
    except (expat.ExpatError, LookupError, ValueError) as exc:
        raise XmlSignatureUnreadableError(f"the document type declaration cannot be read: {exc}") from exc
    return bool(defaults)


def signatures_in(tree: etree._ElementTree) -> list[Element]:
    """Returns the ds:Signature elements that sign, counter-signatures included, in document order."""
    return list(tree.getroot().iter(f"{{{DS}}}Signature"))


def verify(signature: Element, siblings: Mapping[str, Path]) -> XmlSignature:
    """Verifies one signature: every reference's digest and the signature value.

    Raises:
        XmlSignatureUnreadableError: it cannot be decided.
    """
    signed_info = _only(signature, "ds:SignedInfo")
    references = signed_info.findall("ds:Reference", NS)
    if not references or len(references) > MAX_REFERENCES:
        raise XmlSignatureUnreadableError(f"{len(references)} references")
    certificates = tuple(_certificates(signature))
    method = _attribute(_only(signed_info, "ds:SignatureMethod"), "Algorithm")
    value = _base64(_only(signature, "ds:SignatureValue").text)
    octets = canonical(signed_info, _only(signed_info, "ds:CanonicalizationMethod"))
    valid, certificate = _signer(_candidates(signature, certificates), method, value, octets)
    resolved = tuple(_reference(reference, signature, siblings) for reference in references)
    return XmlSignature(
        references=resolved,
        manifest=tuple(_manifest(resolved, signature, siblings)),
        signature_valid=valid,
        certificate=certificate,
        certificates=certificates,
        method=method.rpartition("#")[2] or method,
        signature_value=value,
    )


def _manifest(signed: tuple[Reference, ...], signature: Element, siblings: Mapping[str, Path]) -> Iterator[Reference]:
    """Yields what the manifests among the signed elements refer to; manifests in manifests are refused."""
    elements = [reference.element for reference in signed if reference.element is not None]
    manifests = [m for e in elements for m in e.iter(f"{{{DS}}}Manifest") if e.tag != f"{{{XADES}}}SignedProperties"]
    references = [r for manifest in dict.fromkeys(manifests) for r in manifest.findall("ds:Reference", NS)]
    if len(references) > MAX_REFERENCES:
        raise XmlSignatureUnreadableError(f"{len(references)} references in manifests")
    for reference in references:
        resolved = _reference(reference, signature, siblings)
        if resolved.element is not None and resolved.element.tag == f"{{{DS}}}Manifest":
            raise XmlSignatureUnreadableError("a manifest in a manifest")
        yield resolved


def _only(parent: Element, path: str) -> Element:
    found = parent.findall(path, NS)
    if len(found) != 1:
        raise XmlSignatureUnreadableError(f"{len(found)} elements {path}")
    return found[0]


def _attribute(element: Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise XmlSignatureUnreadableError(f"no {name} on {etree.QName(element).localname}")
    return str(value)


def _base64(text: str | None) -> bytes:
    try:
        return b64decode("".join((text or "").split()), validate=True)
    except ValueError as exc:
        raise XmlSignatureUnreadableError("malformed base64") from exc


def octets_of(element: Element) -> bytes:
    """Returns the base64-decoded text of an element.

    Raises:
        XmlSignatureUnreadableError: malformed base64.
    """
    return _base64(element.text)


def _certificates(signature: Element) -> Iterator[bytes]:
    for element in signature.findall("ds:KeyInfo//ds:X509Certificate", NS):
        try:
            der = _base64(element.text)
            parse_certificate(der)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        yield der


def _signer(
    candidates: list[x509.Certificate], method: str, value: bytes, octets: bytes
) -> tuple[bool | None, x509.Certificate | None]:
    """Returns whether the value holds, and the signer: the first candidate it holds for, else the likeliest one; None without any."""
    if not candidates:
        return None, None
    unsuitable: XmlSignatureUnreadableError | None = None
    judged = 0
    for certificate in candidates[:MAX_CANDIDATES]:
        try:
            if signature_valid(method, value, octets, certificate):
                return True, certificate
            judged += 1
        except XmlSignatureUnreadableError as exc:
            unsuitable = unsuitable or exc
    if unsuitable is not None and not judged:
        raise unsuitable
    return False, candidates[0]


def _candidates(signature: Element, certificates: tuple[bytes, ...]) -> list[x509.Certificate]:
    """Returns the certificates that may be the signer's, likeliest first.

    Those a XAdES signature names by digest, in its order (the signer's comes first, its authorities may follow), and no other;
    without names all there are, first those that issued none of the others: makers list them in any order.
    """
    named = [
        (
            _attribute(_only(digest, "ds:DigestMethod"), "Algorithm"),
            _base64(digest.findtext("ds:DigestValue", None, NS)),
        )
        for path in _NAMED_CERTIFICATES
        for digest in signature.iterfind(path, NS)
    ]
    if named:
        found = [
            der for uri, value in named for der in certificates if hashlib.new(_digest_name(uri), der).digest() == value
        ]
        return [parse_certificate(der) for der in dict.fromkeys(found)]
    parsed = [parse_certificate(der) for der in dict.fromkeys(certificates)]
    issuers = {c.issuer.hashable for c in parsed if c.subject.hashable != c.issuer.hashable}
    return sorted(parsed, key=lambda certificate: certificate.subject.hashable in issuers)


def _digest_name(uri: str) -> str:
    try:
        return DigestAlgorithm(uri).name.lower()
    except ValueError as exc:
        raise XmlSignatureUnreadableError(f"digest algorithm {uri} is not supported") from exc


# ------------------------------------------------------------------ references and transforms


def _reference(reference: Element, signature: Element, siblings: Mapping[str, Path]) -> Reference:
    uri = reference.get("URI")
    if uri is None:
        raise XmlSignatureUnreadableError("a reference without URI")
    algorithm = _digest_name(_attribute(_only(reference, "ds:DigestMethod"), "Algorithm"))
    expected = _base64(_only(reference, "ds:DigestValue").text)
    transforms = reference.findall("ds:Transforms/ds:Transform", NS)
    if len(transforms) > MAX_TRANSFORMS:
        raise XmlSignatureUnreadableError(f"{len(transforms)} transforms")
    if uri and not uri.startswith("#"):
        if transforms:
            raise XmlSignatureUnreadableError("transforms on a detached file are not supported")
        return _external(reference, uri, algorithm, expected, siblings)
    target, whole = _resolve(uri, signature)
    scope = _Scope(document=not uri or uri == "#xpointer(/)", comments=uri.startswith("#xpointer("))
    matches = hashlib.new(algorithm, _transform(target, signature, transforms, scope)).digest() == expected
    later = False
    if not matches and any(transform.get("Algorithm") == ENVELOPED for transform in transforms):
        alone = _without(target, list(target.iter(f"{{{DS}}}Signature")))
        later = hashlib.new(algorithm, _transform(alone, signature, transforms, scope)).digest() == expected
    return Reference(
        uri=uri,
        kind=reference.get("Type") or "",
        digest=algorithm,
        target="document" if whole else f"{uri} {etree.QName(target).localname}",
        matches=matches or later,
        added_later=later,
        whole_document=whole,
        element=target,
        left_out=tuple(_left_out(target, signature, transforms, everything=later)),
        with_comments=scope.comments
        and bool(transforms)
        and _attribute(transforms[-1], "Algorithm").endswith("WithComments"),
        octets=lambda method: iter((_transform(target, signature, transforms, scope, method),)),
    )


def _left_out(target: Element, signature: Element, transforms: list[Element], *, everything: bool) -> Iterator[Element]:
    """Yields the signatures in an element that its transforms do not digest."""
    used = {transform.get("Algorithm") for transform in transforms}
    if everything or used & {XPATH, XPATH_FILTER2}:
        yield from target.iter(f"{{{DS}}}Signature")
    elif ENVELOPED in used and _inside(target, signature):
        yield signature


def _external(reference: Element, uri: str, algorithm: str, expected: bytes, siblings: Mapping[str, Path]) -> Reference:
    """A detached reference: only to a file handed over as sibling, never fetched."""
    name = unquote(uri).removeprefix("./")
    target = siblings.get(name) or next((path for key, path in siblings.items() if Path(key).name == name), None)
    state = hashlib.new(algorithm)
    if target is not None:
        with target.open("rb") as stream:
            for chunk in chunks(stream):
                state.update(chunk)
    return Reference(
        uri=uri,
        kind=reference.get("Type") or "",
        digest=algorithm,
        target=name,
        matches=target is not None and state.digest() == expected,
        whole_document=target is not None,
        found=target is not None,
        octets=lambda _: _file_chunks(target),
    )


def _file_chunks(path: Path | None) -> Iterator[bytes]:
    if path is not None:
        with path.open("rb") as stream:
            yield from chunks(stream)


def _resolve(uri: str, signature: Element) -> tuple[Element, bool]:
    """Returns the element a same-document URI names and whether that is the whole document; an Id that is not unique is refused."""
    root = signature.getroottree().getroot()
    if uri in {"", "#xpointer(/)"}:
        return root, True
    wanted = uri[1:]
    if wanted.startswith("xpointer(id("):
        wanted = wanted.removeprefix("xpointer(id(").removesuffix("))").strip("'\"")
    found = [e for e in root.iter() if isinstance(e.tag, str) and any(e.get(name) == wanted for name in ID_ATTRIBUTES)]
    if len(found) != 1:
        raise XmlSignatureUnreadableError(f"{len(found)} elements with Id {wanted!r}")
    return found[0], found[0] is root


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a same-document reference selects besides its element (XMLDSig 1.1 clause 4.4.3.3)."""

    document: bool
    """The node-set is the whole document, processing instructions around the root included."""
    comments: bool
    """Only a full XPointer selects comments."""


def _transform(
    target: Element, signature: Element, transforms: list[Element], scope: _Scope, method: Element | None = None
) -> bytes:
    """Runs the transforms of a reference on a copy and returns the octets to digest.

    Where they end in a node-set it is made octets by `method`, Canonical XML 1.0 when there is none.
    """
    node, reread = target, False
    for position, transform in enumerate(transforms):
        algorithm = _attribute(transform, "Algorithm")
        if algorithm == ENVELOPED:
            if reread:
                raise XmlSignatureUnreadableError("an enveloped-signature transform after a canonicalisation")
            node = _without(node, [signature])
        elif algorithm in {XPATH, XPATH_FILTER2}:
            _require_signature_filter(transform, algorithm)
            node = _without(node, list(node.iter(f"{{{DS}}}Signature")))
        elif algorithm == BASE64:
            if position != len(transforms) - 1:
                raise XmlSignatureUnreadableError("a transform after base64")
            return _base64("".join(node.itertext()))
        elif position == len(transforms) - 1:
            return canonical(node, transform, document=scope.document, comments=scope.comments)
        else:
            octets = canonical(node, transform, document=scope.document, comments=scope.comments)
            node, scope, reread = etree.fromstring(octets, _parser()), _Scope(document=True, comments=True), True
    return canonical(node, method, document=scope.document, comments=scope.comments)


def _require_signature_filter(transform: Element, algorithm: str) -> None:
    """Refuses every XPath transform but the one that takes all signatures away."""
    own = f"{{{DS if algorithm == XPATH else XPATH_FILTER2}}}XPath"
    expressions = transform.findall(own)
    text = "".join((expressions[0].text or "").split()) if len(expressions) == 1 else ""
    pattern = _NOT_SIGNATURE if algorithm == XPATH else _LESS_SIGNATURES
    found = pattern.fullmatch(text)
    kept = algorithm == XPATH or (found is not None and expressions[0].get("Filter") == "subtract")
    if found is None or not kept or expressions[0].nsmap.get(found["prefix"]) != DS:
        raise XmlSignatureUnreadableError(f"XPath transform {text[:80]!r} is not supported")


def _without(node: Element, removed: list[Element]) -> Element:
    """Returns a copy of `node`'s document position without the given descendants, text around them kept."""
    paths = [_steps(node, element) for element in removed if element is not node and _inside(node, element)]
    root_steps = _steps(node.getroottree().getroot(), node)
    copy = deepcopy(node.getroottree()).getroot()
    for step in root_steps:
        copy = copy[step]
    targets = [_follow(copy, steps) for steps in paths]
    for element in targets:
        parent = element.getparent()
        if parent is None:
            continue
        tail, before = element.tail or "", element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + tail
        else:
            parent.text = (parent.text or "") + tail
        element.tail = None
        parent.remove(element)
    return copy


def _inside(node: Element, element: Element) -> bool:
    return any(ancestor is node for ancestor in element.iterancestors())


def _steps(top: Element, element: Element) -> list[int]:
    steps: list[int] = []
    current = element
    while current is not top:
        parent = current.getparent()
        if parent is None:
            raise XmlSignatureUnreadableError("a node outside the document")
        steps.append(parent.index(current))
        current = parent
    return steps[::-1]


def _follow(top: Element, steps: list[int]) -> Element:
    for step in steps:
        top = top[step]
    return top


def _canonicalization(uri: str) -> CanonicalizationMethod:
    try:
        return CanonicalizationMethod(uri)
    except ValueError as exc:
        raise XmlSignatureUnreadableError(f"transform {uri} is not supported") from exc


def canonical(node: Element, method: Element | None, *, document: bool = False, comments: bool = True) -> bytes:
    """Returns the canonical octets of an element by the named method, inclusive without comments when none is named.

    Args:
        node: the element.
        method: the element that names the algorithm.
        document: what stands around the root belongs to the octets.
        comments: whether a method with comments finds any.
    """
    uri = CanonicalizationMethod.CANONICAL_XML_1_0.value if method is None else _attribute(method, "Algorithm")
    algorithm = _canonicalization(uri)
    prefixes = None
    if method is not None:
        listed = method.find("{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces")
        prefixes = (listed.get("PrefixList") or "").split() if listed is not None else None
    exclusive = "exc-c14n" in algorithm.value
    if exclusive and prefixes and DEFAULT_PREFIX in prefixes:
        _make_default_prefix_known()
    borrowed = {} if exclusive or document else _inherited(node, later="xml-c14n11" in algorithm.value)
    apex = node.getroottree() if document else _standing_alone(node, borrowed)
    return bytes(
        etree.tostring(
            apex,
            method="c14n",
            exclusive=exclusive,
            with_comments=comments and "WithComments" in algorithm.value,
            inclusive_ns_prefixes=prefixes if exclusive else None,
        )
    )


def _make_default_prefix_known() -> None:
    """Makes `#default` in a prefix list work.

    lxml passes on only prefixes that stand in its dictionary of names, where this one, which is no name, gets only through the
    HTML parser; what it then does is tried out, so that another version of lxml cannot change octets unnoticed.

    Raises:
        XmlSignatureUnreadableError: it does not work.
    """
    etree.fromstring(f"<p {DEFAULT_PREFIX}='1'>x</p>", etree.HTMLParser(no_network=True))
    probe = etree.fromstring('<p:a xmlns="u:b" xmlns:p="u:p"/>')
    octets = etree.tostring(probe, method="c14n", exclusive=True, inclusive_ns_prefixes=[DEFAULT_PREFIX])
    if octets != b'<p:a xmlns="u:b" xmlns:p="u:p"></p:a>':
        raise XmlSignatureUnreadableError(f"the prefix {DEFAULT_PREFIX} is not supported")


def _standing_alone(node: Element, borrowed: dict[str, str]) -> etree._ElementTree:
    """Returns an element as a document of its own, with the namespaces in scope and the `borrowed` attributes.

    Canonicalised where it stands, its descendants would be given an empty default namespace that nobody wrote wherever
    the default namespace comes from further up: libxml2 does not see declarations on the stand-in that lxml makes for the element.
    """
    node.attrib.update(borrowed)
    try:
        written = etree.tostring(node, encoding="utf-8", with_tail=False)
    finally:
        for name in borrowed:
            del node.attrib[name]
    return etree.ElementTree(etree.fromstring(written, _parser()))


def _inherited(node: Element, *, later: bool) -> dict[str, str]:
    """Returns the xml: attributes that an element's inclusive octets take over from its ancestors.

    Canonical XML 1.0 clause 2.4 takes the nearest of each; 1.1 (`later`) leaves xml:id out and joins xml:base.
    """
    found: dict[str, str] = {}
    for ancestor in node.iterancestors():
        for name, value in ancestor.attrib.items():
            if str(name).startswith(f"{{{_XML_NAMESPACE}}}") and name not in node.attrib:
                found.setdefault(str(name), str(value))
            elif later and name == f"{{{_XML_NAMESPACE}}}base":
                found[str(name)] = ""
    if not later:
        return found
    found.pop(f"{{{_XML_NAMESPACE}}}id", None)
    if f"{{{_XML_NAMESPACE}}}base" in found:
        raise XmlSignatureUnreadableError("joining xml:base is not supported")
    return found
