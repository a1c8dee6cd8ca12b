//! From a registry into the store.

use std::collections::BTreeSet;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};

use super::client::Client;
use super::{Progress, Transfer};
use crate::image::gadget_image::MAX_DOCUMENT;
use crate::image::store::Addition;
use crate::image::{Descriptor, Digest, Index, Manifest, Reference, Store};
use crate::{Error, ErrorKind, Result, ResultExt};

/// The most that one image may take, in bytes; gadgets have a few hundred kilobytes.
const MAX_IMAGE: u64 = 4 << 30;
/// The most manifests that one image may have.
const MAX_MANIFESTS: usize = 128;
/// How deep indexes may nest.
const MAX_DEPTH: usize = 4;

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

pub(super) async fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    progress: &Progress,
) -> Result<Descriptor> {
    let (root, text) = fetch_reference(client, reference)
        .await
        .context("failed to perform \"FetchReference\" on source")?;
    let mut copy = Copy {
        client,
        addition: store.begin().context("failed to perform \"Push\" on destination")?,
        progress,
        seen: BTreeSet::new(),
        manifests: Vec::new(),
        announced: 0,
    };
    copy.manifest(&root, text, 0).await?;
    let Copy {
        addition, manifests, ..
    } = copy;
    addition
        .commit(&root, &manifests, Some(reference))
        .context("failed to perform \"Tag\" on destination")?;
    Ok(root)
}

/// The document that a tag or a digest stands for.
async fn fetch_reference(client: &Client, reference: &Reference) -> Result<(Descriptor, Vec<u8>)> {
    let key = reference.remote_key();
    let url = client.url(&format!("manifests/{key}"))?;
    let response = client
        .send(Method::GET, url, |request| request.header(ACCEPT, ACCEPTED))
        .await?;
    if response.status() == 404 {
        let separator = if reference.digest().is_some() { '@' } else { ':' };
        return Err(Error::not_found("not found")
            .context(format!("{}{separator}{key}", reference.repository()))
            .with_hint(format!(
                "check the name; {} has no such image, or shows it only after a log-in",
                client.registry()
            )));
    }
    let response = client.expect(response, &[200]).await?;
    let media_type = media_type_of(&response);
    let announced = response
        .headers()
        .get("Docker-Content-Digest")
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|digest| Digest::parse(digest).ok());
    let text = client.read(response, MAX_DOCUMENT).await?;

    let descriptor = Descriptor::of(&media_type, &text);
    if !descriptor.is_index() && !descriptor.is_manifest() {
        return Err(Error::new(
            ErrorKind::Network,
            format!("unsupported manifest media type {media_type:?}"),
        )
        .with_hint(format!("check that {} is a container registry", client.registry())));
    }
    for expected in reference.digest().copied().into_iter().chain(announced) {
        if expected != descriptor.digest {
            return Err(Error::new(
                ErrorKind::Network,
                format!(
                    "{key}: the content's digest is {} instead of {expected}",
                    descriptor.digest
                ),
            ));
        }
    }
    Ok((descriptor, text))
}

fn media_type_of(response: &Response) -> String {
    let header = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

struct Copy<'a> {
    client: &'a Client,
    addition: Addition<'a>,
    progress: &'a Progress,
    seen: BTreeSet<Digest>,
    /// All manifests and indexes but the root.
    manifests: Vec<Descriptor>,
    announced: u64,
}

impl Copy<'_> {
    /// Stores a manifest or an index, after everything it names.
    async fn manifest(&mut self, descriptor: &Descriptor, text: Vec<u8>, depth: usize) -> Result<()> {
        if descriptor.is_index() {
            let index = Index::parse(&text)
                .with_context(|| format!("decoding index {}", descriptor.digest))
                .context("failed to perform \"Fetch\" on source")?;
            for child in &index.manifests {
                if !self.seen.insert(child.digest) {
                    continue;
                }
                if !child.is_index() && !child.is_manifest() {
                    self.blob(child).await?;
                    continue;
                }
                if depth == MAX_DEPTH || self.manifests.len() == MAX_MANIFESTS {
                    return Err(Error::invalid(format!(
                        "the image has more than {MAX_MANIFESTS} manifests, or they nest deeper than {MAX_DEPTH}"
                    ))
                    .context("failed to perform \"Fetch\" on source"));
                }
                let text = self
                    .fetch_manifest(child)
                    .await
                    .context("failed to perform \"Fetch\" on source")?;
                Box::pin(self.manifest(child, text, depth + 1)).await?;
                self.manifests.push(child.clone());
            }
        } else {
            let manifest = Manifest::parse(&text)
                .with_context(|| format!("decoding manifest {}", descriptor.digest))
                .context("failed to perform \"Fetch\" on source")?;
            for blob in [&manifest.config].into_iter().chain(&manifest.layers) {
                if self.seen.insert(blob.digest) {
                    self.blob(blob).await?;
                }
            }
        }
        self.addition
            .put(descriptor, &text)
            .context("failed to perform \"Push\" on destination")
    }

    async fn fetch_manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if descriptor.size > MAX_DOCUMENT {
            return Err(Error::invalid(format!(
                "manifest {} has {} bytes, more than the {MAX_DOCUMENT} that are accepted",
                descriptor.digest, descriptor.size
            )));
        }
        let url = self.client.url(&format!("manifests/{}", descriptor.digest))?;
        let response = self
            .client
            .send(Method::GET, url, |request| {
                request.header(ACCEPT, &descriptor.media_type)
            })
            .await?;
        let response = self.client.expect(response, &[200]).await?;
        let text = self.client.read(response, MAX_DOCUMENT).await?;
        let actual = Digest::of(&text);
        if actual != descriptor.digest {
            return Err(
                Error::new(ErrorKind::Network, format!("the content's digest is {actual}"))
                    .context(format!("blob {} failed verification", descriptor.digest)),
            );
        }
        Ok(text)
    }

    async fn blob(&mut self, descriptor: &Descriptor) -> Result<()> {
        self.announced = self.announced.saturating_add(descriptor.size);
        if self.announced > MAX_IMAGE {
            return Err(Error::invalid(format!(
                "the image is larger than the {MAX_IMAGE} bytes that are accepted"
            ))
            .context("failed to perform \"Fetch\" on source"));
        }
        if self.addition.has(descriptor) {
            return Ok(());
        }
        self.progress.report(Transfer::Expected(descriptor.size));
        let mut writer = self
            .addition
            .writer(descriptor)
            .context("failed to perform \"Push\" on destination")?;
        let mut response = self
            .fetch_blob(descriptor)
            .await
            .context("failed to perform \"Fetch\" on source")?;
        while let Some(chunk) = self
            .client
            .chunk(&mut response)
            .await
            .context("failed to perform \"Fetch\" on source")?
        {
            let chunk = chunk.as_ref();
            writer
                .write(chunk)
                .context("failed to perform \"Push\" on destination")?;
            self.progress.report(Transfer::Moved(chunk.len() as u64));
        }
        writer.finish().context("failed to perform \"Push\" on destination")
    }

    async fn fetch_blob(&self, descriptor: &Descriptor) -> Result<Response> {
        let url = self.client.url(&format!("blobs/{}", descriptor.digest))?;
        let response = self.client.send(Method::GET, url, |request| request).await?;
        self.client.expect(response, &[200]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::media_type;

    #[test]
    fn every_kind_of_manifest_is_asked_for() {
        let accepted: Vec<&str> = ACCEPTED.split(", ").map(str::trim).collect();
        assert_eq!(
            accepted,
            [
                media_type::INDEX,
                media_type::MANIFEST,
                media_type::DOCKER_INDEX,
                media_type::DOCKER_MANIFEST
            ]
        );
    }
}
