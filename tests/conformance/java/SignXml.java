// Signs an XML document with the JDK's own XML signature implementation: another program's idea of canonical octets.
// Arguments: key (PKCS#8 DER), certificate (DER), input, output, mode.

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import javax.xml.crypto.dsig.CanonicalizationMethod;
import javax.xml.crypto.dsig.DigestMethod;
import javax.xml.crypto.dsig.Transform;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMSignContext;
import javax.xml.crypto.dsig.keyinfo.KeyInfoFactory;
import javax.xml.crypto.dsig.spec.C14NMethodParameterSpec;
import javax.xml.crypto.dsig.spec.TransformParameterSpec;
import javax.xml.crypto.dsig.spec.XPathFilter2ParameterSpec;
import javax.xml.crypto.dsig.spec.XPathFilterParameterSpec;
import javax.xml.crypto.dsig.spec.XPathType;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

public final class SignXml {
    private static final Map<String, String> DS = Map.of("ds", "http://www.w3.org/2000/09/xmldsig#");

    private static final Map<String, String> SIG = Map.of("sig", "http://www.w3.org/2000/09/xmldsig#");

    public static void main(String[] arguments) throws Exception {
        PrivateKey key = KeyFactory.getInstance("EC")
            .generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(arguments[0]))));
        X509Certificate certificate = (X509Certificate) CertificateFactory.getInstance("X.509")
            .generateCertificate(new FileInputStream(arguments[1]));
        DocumentBuilderFactory builders = DocumentBuilderFactory.newInstance();
        builders.setNamespaceAware(true);
        Document document = builders.newDocumentBuilder().parse(arguments[2]);
        String mode = arguments[4];
        XMLSignatureFactory factory = XMLSignatureFactory.getInstance("DOM");
        List<Transform> transforms = new ArrayList<>();
        String uri = "";
        String method = CanonicalizationMethod.INCLUSIVE;
        if (mode.contains("11")) {
            method = "http://www.w3.org/2006/12/xml-c14n11";
        } else if (mode.contains("exclusive")) {
            method = CanonicalizationMethod.EXCLUSIVE;
        }
        if (mode.startsWith("id")) {
            uri = "#data";
            if (mode.contains("pointer")) {
                uri = "#xpointer(id('data'))";
            }
        } else if (mode.startsWith("filter")) {
            transforms.add(factory.newTransform(Transform.XPATH2, new XPathFilter2ParameterSpec(
                List.of(new XPathType("/descendant::sig:Signature", XPathType.Filter.SUBTRACT, SIG)))));
        } else if (mode.startsWith("xpath")) {
            transforms.add(factory.newTransform(Transform.XPATH,
                new XPathFilterParameterSpec("not(ancestor-or-self::ds:Signature)", DS)));
        } else {
            transforms.add(factory.newTransform(Transform.ENVELOPED, (TransformParameterSpec) null));
        }
        String octets = mode.contains("comments") ? method + (method.endsWith("#") ? "" : "#") + "WithComments" : method;
        transforms.add(factory.newTransform(octets, (TransformParameterSpec) null));
        var reference = factory.newReference(uri, factory.newDigestMethod(DigestMethod.SHA256, null), transforms, null, null);
        var info = factory.newSignedInfo(
            factory.newCanonicalizationMethod(method, (C14NMethodParameterSpec) null),
            factory.newSignatureMethod("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", null),
            List.of(reference));
        KeyInfoFactory keys = factory.getKeyInfoFactory();
        var keyInfo = keys.newKeyInfo(List.of(keys.newX509Data(List.of(certificate))));
        Element root = document.getDocumentElement();
        DOMSignContext context = new DOMSignContext(key, root);
        context.setDefaultNamespacePrefix("ds");
        Element data = (Element) root.getElementsByTagName("NoiDung").item(0);
        context.setIdAttributeNS(data, null, "Id");
        factory.newXMLSignature(info, keyInfo).sign(context);
        try (FileOutputStream output = new FileOutputStream(arguments[3])) {
            TransformerFactory.newInstance().newTransformer().transform(new DOMSource(document), new StreamResult(output));
        }
    }
}
