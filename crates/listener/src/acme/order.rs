//! One order with the authority: proves the name, has a fresh key certified.

use super::AcmeConfig;
use super::client::{ClientError, Https};
use super::storage::Storage;
use crate::tls::{Certificate, CertificateError, Certificates};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long an authority may take to look at a proof, or to issue.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("the authority refuses or does not answer")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not offer to prove {0} by tls-alpn-01")]
    NoChallenge(String),
    #[error("the authority did not see the proof for {0}: does the name lead to this listener, at port 443?")]
    NotProven(String),
    #[error("failed to make a key or a request")]
    Key(#[from] rcgen::Error),
    #[error("failed to make the proof")]
    Proof(#[from] rustls::Error),
    #[error("the authority issued something unusable")]
    Unusable(#[from] CertificateError),
    #[error("failed to keep the certificate or the account")]
    Storage(#[from] std::io::Error),
}

/// The authority with our account.
pub(super) struct Authority {
    directory: String,
    contacts: Vec<String>,
    client: Https,
    storage: Arc<Storage>,
    account: Option<Account>,
}

impl Authority {
    pub(super) fn new(config: &AcmeConfig, storage: Arc<Storage>) -> Result<Self, ClientError> {
        Ok(Self {
            directory: config.directory.clone(),
            contacts: config.contacts.clone(),
            client: Https::new(config.roots.as_deref())?,
            storage,
            account: None,
        })
    }

    /// Gets a certificate for `domain` and keeps it. The proof is shown by `certificates` meanwhile.
    pub(super) async fn order(
        &mut self,
        domain: &str,
        certificates: &Certificates,
    ) -> Result<Certificate, OrderError> {
        let account = self.account().await?;
        let ordered = certified(&account, domain, certificates).await;
        certificates.end_challenge(domain);
        let (chain, key) = ordered?;
        let name = Path::new(domain);
        let certificate = Certificate::from_pem((name, chain.as_bytes()), (name, key.as_bytes()))?;
        self.storage.keep_certificate(domain, &chain, &key)?;
        Ok(certificate)
    }

    async fn account(&mut self) -> Result<Account, OrderError> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        let account = match self.storage.account(&self.directory) {
            Some(credentials) => builder().from_credentials(credentials).await?,
            None => {
                let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
                // The operator has agreed in the configuration, or there would be no order.
                let new = NewAccount {
                    contact: &contacts,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) = builder().create(&new, self.directory.clone(), None).await?;
                self.storage.keep_account(&self.directory, credentials)?;
                account
            }
        };
        self.account = Some(account.clone());
        Ok(account)
    }
}

/// Gives chain and key, PEM.
async fn certified(
    account: &Account,
    domain: &str,
    certificates: &Certificates,
) -> Result<(String, String), OrderError> {
    let identifiers = [Identifier::Dns(domain.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| OrderError::NoChallenge(domain.to_owned()))?;
        let proof = proof(domain, challenge.key_authorization().digest().as_ref())?;
        certificates.set_challenge(domain, proof);
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::default().timeout(PATIENCE);
    if order.poll_ready(&patience).await? != OrderStatus::Ready {
        return Err(OrderError::NotProven(domain.to_owned()));
    }
    let key = KeyPair::generate()?;
    let request = CertificateParams::new([domain.to_owned()])?.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    Ok((order.poll_certificate(&patience).await?, key.serialize_pem()))
}

/// The certificate that says nothing but that we hold the authority's token. Source: RFC 8737, 3.
fn proof(domain: &str, digest: &[u8]) -> Result<CertifiedKey, OrderError> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new([domain.to_owned()])?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key)?;
    let key = ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Not `from_der`: it reads the certificate, and refuses the extension that must be critical here.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    #[test]
    fn a_proof_holds_the_digest_and_nothing_else_to_trust() {
        let proof = proof("a.example", &[7; 32]).unwrap();
        let (_, certificate) = X509Certificate::from_der(&proof.cert[0]).unwrap();
        let identifier = certificate
            .extensions()
            .iter()
            .find(|found| found.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32], [7; 32].as_slice()].concat());
    }
}
