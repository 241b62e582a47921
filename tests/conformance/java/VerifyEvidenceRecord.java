import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;

import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.SignerInformationVerifier;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.tsp.ers.ERSByteData;
import org.bouncycastle.tsp.ers.ERSData;
import org.bouncycastle.tsp.ers.ERSDataGroup;
import org.bouncycastle.tsp.ers.ERSEvidenceRecord;

/** Prints "accepted" or why Bouncy Castle refuses: RECORD SIGNER_CERTIFICATE UNIX_TIME DATA_FILE... (several files are one group). */
public class VerifyEvidenceRecord {
    public static void main(String[] args) throws Exception {
        BouncyCastleProvider provider = new BouncyCastleProvider();
        DigestCalculatorProvider digests = new JcaDigestCalculatorProviderBuilder().setProvider(provider).build();
        try {
            ERSEvidenceRecord record = new ERSEvidenceRecord(Files.readAllBytes(Path.of(args[0])), digests);
            X509CertificateHolder signer = new X509CertificateHolder(Files.readAllBytes(Path.of(args[1])));
            SignerInformationVerifier verifier =
                new JcaSimpleSignerInfoVerifierBuilder().setProvider(provider).build(signer);
            List<ERSData> members = new ArrayList<>();
            for (int at = 3; at < args.length; at++) {
                members.add(new ERSByteData(Files.readAllBytes(Path.of(args[at]))));
            }
            ERSData data = members.size() == 1 ? members.get(0) : new ERSDataGroup(members);
            record.validatePresent(data, new Date(Long.parseLong(args[2]) * 1000));
            record.validate(verifier);
            System.out.println("accepted");
        } catch (Exception refusal) {
            System.out.println("refused: " + refusal);
        }
    }
}
