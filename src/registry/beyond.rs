//! What lies behind a registry's answers, for `doctor`: the servers that it sends its users to, and whether it takes
//! what they send.

use http::header::ACCEPT;
use http::{Method, StatusCode};
use url::Url;

use crate::content::Lookup;
use crate::failure::Failure;
use crate::oci::{Digest, Document, Repository};
use crate::registry::Registry;
use crate::registry::auth::Access;
use crate::registry::endpoint::Endpoint;
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Call, Exchange, follow, redirect_of};
use crate::registry::pull::{accepted_documents, blob_name, manifest_name};
use crate::registry::redirect::Trail;

impl Registry {
    /// The first page of the server that gives the tokens for the host of `repository`, as far as it was named in this
    /// run; none where that is the registry itself.
    pub fn token_server_of(&self, repository: &Repository) -> Result<Option<Url>, Failure> {
        let registry = Endpoint::of(repository, &self.0.settings)?.api();
        let named = self.0.auth.token_server(&registry);
        Ok(named.filter(|url| url.origin() != registry.origin()).map(|url| first_page(&url)))
    }

    /// The first page of the server to which `repository` sends those who ask for the blobs of an image; none where
    /// it gives them itself. Fetches the image's documents and no blob.
    pub async fn store_of(&self, repository: &Repository, lookup: &Lookup) -> Result<Option<Url>, Failure> {
        Ok(self.0.store_of(repository, lookup).await?)
    }

    /// Begins an upload to `repository` and takes it back: whether it could be sent to. Nothing stays there.
    pub async fn try_upload(&self, repository: &Repository) -> Result<(), Failure> {
        Ok(self.0.try_upload(repository).await?)
    }
}

impl Exchange {
    async fn store_of(&self, repository: &Repository, lookup: &Lookup) -> Result<Option<Url>, RegistryError> {
        let endpoint = Endpoint::of(repository, &self.settings)?;
        let Some(blob) = self.some_blob(&endpoint, lookup).await? else { return Ok(None) };
        let what = blob_name(repository, blob);
        let call = Call::new(Method::GET, endpoint.blob(blob), &endpoint, Access::pull(repository), &what);
        let answer = self.once(&Call { follows: false, ..call }).await?;
        let Some(location) = redirect_of(&answer.response) else {
            return if answer.status().is_success() { Ok(None) } else { Err(answer.refused(&what).await) };
        };
        let mut trail = Trail::new(&endpoint.api(), answer.url.clone());
        follow(&mut trail, &location, &what)?;
        let target = trail.now();
        Ok((target.origin() != answer.url.origin()).then(|| first_page(target)))
    }

    /// A blob of an image; none where an index lists no image.
    async fn some_blob(&self, endpoint: &Endpoint, lookup: &Lookup) -> Result<Option<Digest>, RegistryError> {
        match self.document_once(endpoint, lookup).await? {
            Document::Manifest(manifest) => Ok(Some(manifest.config.digest)),
            Document::Index(index) => {
                let Some(first) = index.manifests.iter().find(|listed| !listed.is_attestation()) else {
                    return Ok(None);
                };
                match self.document_once(endpoint, &Lookup::Digest(first.descriptor.digest)).await? {
                    Document::Manifest(manifest) => Ok(Some(manifest.config.digest)),
                    Document::Index(_) => Ok(None),
                }
            }
        }
    }

    async fn document_once(&self, endpoint: &Endpoint, lookup: &Lookup) -> Result<Document, RegistryError> {
        let (repository, what) = (&endpoint.repository, manifest_name(&endpoint.repository, lookup));
        let mut call = Call::new(Method::GET, endpoint.manifest(lookup), endpoint, Access::pull(repository), &what);
        call.headers.insert(ACCEPT, accepted_documents());
        // Somebody is watching: what drips is a finding and not waited for.
        self.whole_document(&call, lookup, true).await
    }

    async fn try_upload(&self, repository: &Repository) -> Result<(), RegistryError> {
        let endpoint = Endpoint::of(repository, &self.settings)?;
        let what = format!("an upload to `{repository}`");
        let call = Call::new(Method::POST, endpoint.uploads(), &endpoint, Access::push(repository), &what);
        let answer = self.attempt(&call, &[StatusCode::ACCEPTED]).await?;
        let session = self.upload_address(&answer, &what)?;
        drop(answer);
        self.abandon(&endpoint, session, &what).await;
        Ok(())
    }
}

/// What is behind it may be signed, and is nobody's business.
fn first_page(url: &Url) -> Url {
    let mut page = url.clone();
    page.set_path("/");
    page.set_query(None);
    page.set_fragment(None);
    page
}
