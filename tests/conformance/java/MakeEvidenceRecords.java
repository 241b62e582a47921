import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;

import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.BasicConstraints;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.asn1.x509.KeyUsage;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.X509v3CertificateBuilder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.DigestCalculator;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.tsp.TSPAlgorithms;
import org.bouncycastle.tsp.TimeStampRequest;
import org.bouncycastle.tsp.TimeStampRequestGenerator;
import org.bouncycastle.tsp.TimeStampResponse;
import org.bouncycastle.tsp.TimeStampResponseGenerator;
import org.bouncycastle.tsp.TimeStampTokenGenerator;
import org.bouncycastle.tsp.ers.ERSArchiveTimeStampGenerator;
import org.bouncycastle.tsp.ers.ERSByteData;
import org.bouncycastle.tsp.ers.ERSData;
import org.bouncycastle.tsp.ers.ERSDataGroup;
import org.bouncycastle.tsp.ers.ERSEvidenceRecord;
import org.bouncycastle.tsp.ers.ERSEvidenceRecordGenerator;
import org.bouncycastle.util.CollectionStore;

/** Writes root.cer and Evidence Records NUMBER-STEP.ers: FOLDER KEY_ALGORITHM BITS SIGNATURE_ALGORITHM UNIX_TIME UNIT... (members of a unit are joined by +). */
public class MakeEvidenceRecords {
    private static final long YEAR = 365L * 86_400_000L;
    private static final BouncyCastleProvider PROVIDER = new BouncyCastleProvider();
    private static int serial = 1;
    private static DigestCalculatorProvider digests;
    private static String algorithm;
    private static KeyPair key;
    private static X509CertificateHolder root;
    private static X509CertificateHolder signer;

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        digests = new JcaDigestCalculatorProviderBuilder().setProvider(PROVIDER).build();
        algorithm = args[3];
        long start = Long.parseLong(args[4]) * 1000;
        makeAuthority(args[1], Integer.parseInt(args[2]), start);
        Files.write(folder.resolve("root.cer"), root.getEncoded());
        List<ERSData> units = new ArrayList<>();
        for (int at = 5; at < args.length; at++) {
            units.add(unitOf(args[at]));
        }
        ERSArchiveTimeStampGenerator generator = new ERSArchiveTimeStampGenerator(digest(NISTObjectIdentifiers.id_sha256));
        generator.addAllData(units);
        TimeStampResponse answer = stamped(generator.generateTimeStampRequest(asking()), start);
        List<ERSEvidenceRecord> records =
            new ERSEvidenceRecordGenerator(digests).generate(generator.generateArchiveTimeStamps(answer));
        for (ERSEvidenceRecord initial : records) {
            int number = 0;
            while (!initial.isContaining(units.get(number), new Date(start))) {
                number++;
            }
            write(folder, number, "initial", initial);
            ERSEvidenceRecord record = initial;
            for (int year = 1; year <= 2; year++) {
                record = record.renewTimeStamp(
                    stamped(record.generateTimeStampRenewalRequest(asking()), start + year * YEAR));
                write(folder, number, "renewed" + year, record);
            }
            DigestCalculator longer = digest(NISTObjectIdentifiers.id_sha512);
            TimeStampRequest request = record.generateHashRenewalRequest(longer, units.get(number), asking());
            record = record.renewHash(longer, units.get(number), stamped(request, start + 3 * YEAR));
            write(folder, number, "rehashed", record);
            record = record.renewTimeStamp(stamped(record.generateTimeStampRenewalRequest(asking()), start + 4 * YEAR));
            write(folder, number, "rehashed-renewed", record);
        }
    }

    private static void write(Path folder, int number, String step, ERSEvidenceRecord record) throws Exception {
        Files.write(folder.resolve(number + "-" + step + ".ers"), record.getEncoded());
    }

    private static ERSData unitOf(String text) {
        List<ERSData> members = new ArrayList<>();
        for (String member : text.split("\\+")) {
            members.add(new ERSByteData(member.getBytes()));
        }
        return members.size() == 1 ? members.get(0) : new ERSDataGroup(members);
    }

    private static DigestCalculator digest(ASN1ObjectIdentifier name) throws Exception {
        return digests.get(new AlgorithmIdentifier(name));
    }

    private static TimeStampRequestGenerator asking() {
        TimeStampRequestGenerator generator = new TimeStampRequestGenerator();
        generator.setCertReq(true);
        return generator;
    }

    private static TimeStampResponse stamped(TimeStampRequest request, long at) throws Exception {
        TimeStampTokenGenerator tokens = new TimeStampTokenGenerator(
            new JcaSimpleSignerInfoGeneratorBuilder().setProvider(PROVIDER)
                .build(algorithm, key.getPrivate(), new JcaX509CertificateConverter().setProvider(PROVIDER).getCertificate(signer)),
            digest(NISTObjectIdentifiers.id_sha256), new ASN1ObjectIdentifier("1.2.3.4"));
        tokens.addCertificates(new CollectionStore<>(List.of(signer, root)));
        TimeStampResponseGenerator responses = new TimeStampResponseGenerator(tokens, TSPAlgorithms.ALLOWED);
        byte[] answer = responses.generate(request, BigInteger.valueOf(serial++), new Date(at)).getEncoded();
        return new TimeStampResponse(answer);
    }

    private static void makeAuthority(String kind, int bits, long start) throws Exception {
        KeyPairGenerator keys = KeyPairGenerator.getInstance(kind, PROVIDER);
        keys.initialize(bits);
        KeyPair rootKey = keys.generateKeyPair();
        key = keys.generateKeyPair();
        X500Name name = new X500Name("CN=Root of " + algorithm);
        ContentSigner signing = new JcaContentSignerBuilder(algorithm).setProvider(PROVIDER).build(rootKey.getPrivate());
        root = builder(name, 1, name, rootKey, start)
            .addExtension(Extension.basicConstraints, true, new BasicConstraints(true))
            .addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.keyCertSign | KeyUsage.cRLSign))
            .build(signing);
        signer = builder(name, 2, new X500Name("CN=Authority of " + algorithm), key, start)
            .addExtension(Extension.extendedKeyUsage, true, new ExtendedKeyUsage(KeyPurposeId.id_kp_timeStamping))
            .build(signing);
    }

    private static X509v3CertificateBuilder builder(X500Name issuer, int number, X500Name subject, KeyPair pair, long start) {
        return new X509v3CertificateBuilder(issuer, BigInteger.valueOf(number), new Date(start - 86_400_000L),
            new Date(start + 20 * YEAR), subject, SubjectPublicKeyInfo.getInstance(pair.getPublic().getEncoded()));
    }
}
