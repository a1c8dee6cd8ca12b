//! From the store to a registry.

use std::collections::BTreeSet;

use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method};

use super::client::{Activity, Client};
use super::{Progress, Transfer};
use crate::image::{Descriptor, Digest, Index, Manifest, Reference, Store};
use crate::{Error, ErrorKind, Result, ResultExt};

/// How much of a blob is sent between two reports, in bytes.
const PIECE: usize = 64 << 10;

/// How deep indexes may nest.
const MAX_DEPTH: usize = 4;

pub(super) async fn push(
    client: &Client,
    store: &Store,
    reference: &Reference,
    root: &Descriptor,
    progress: &Progress,
) -> Result<()> {
    let mut copy = Copy {
        client,
        store,
        progress,
        seen: BTreeSet::new(),
    };
    let text = store.read_blob(root).context("failed to perform \"Fetch\" on source")?;
    if !copy.exists("manifests", &root.digest).await? {
        copy.children(root, &text, 0).await?;
    }
    let key = match reference.tag() {
        Some(tag) => tag.to_owned(),
        None => root.digest.to_string(),
    };
    copy.put_manifest(root, text, &key)
        .await
        .context("failed to perform \"Tag\" on destination")
}

struct Copy<'a> {
    client: &'a Client,
    store: &'a Store,
    progress: &'a Progress,
    seen: BTreeSet<Digest>,
}

impl Copy<'_> {
    /// Pushes everything that a manifest or an index names.
    async fn children(&mut self, descriptor: &Descriptor, text: &[u8], depth: usize) -> Result<()> {
        if !descriptor.is_index() {
            let manifest = Manifest::parse(text)
                .with_context(|| format!("decoding manifest {}", descriptor.digest))
                .context("failed to perform \"Fetch\" on source")?;
            for blob in [&manifest.config].into_iter().chain(&manifest.layers) {
                if self.seen.insert(blob.digest) && !self.exists("blobs", &blob.digest).await? {
                    self.blob(blob).await?;
                }
            }
            return Ok(());
        }
        let index = Index::parse(text)
            .with_context(|| format!("decoding index {}", descriptor.digest))
            .context("failed to perform \"Fetch\" on source")?;
        if depth == MAX_DEPTH {
            return Err(Error::invalid(format!("indexes nest deeper than {MAX_DEPTH}")));
        }
        for child in &index.manifests {
            if !self.seen.insert(child.digest) || self.exists("manifests", &child.digest).await? {
                continue;
            }
            let text = self
                .store
                .read_blob(child)
                .context("failed to perform \"Fetch\" on source")?;
            Box::pin(self.children(child, &text, depth + 1)).await?;
            self.put_manifest(child, text, &child.digest.to_string())
                .await
                .context("failed to perform \"Push\" on destination")?;
        }
        Ok(())
    }

    async fn exists(&self, kind: &str, digest: &Digest) -> Result<bool> {
        let ask = async {
            let url = self.client.url(&format!("{kind}/{digest}"))?;
            let response = self.client.send(Method::HEAD, url, |request| request).await?;
            if response.status() == 404 {
                return Ok(false);
            }
            self.client.expect(response, &[200]).await.map(|_| true)
        };
        ask.await
            .map_err(|e: Error| e.context("failed to perform \"Exists\" on destination"))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<()> {
        let content = self
            .store
            .read_blob(descriptor)
            .context("failed to perform \"Fetch\" on source")?;
        self.progress.report(Transfer::Expected(descriptor.size));
        self.upload(descriptor, content)
            .await
            .context("failed to perform \"Push\" on destination")
    }

    async fn upload(&self, descriptor: &Descriptor, content: Vec<u8>) -> Result<()> {
        let start = self.client.url("blobs/uploads/")?;
        let response = self
            .client
            .send(Method::POST, start, |request| request.header(CONTENT_LENGTH, 0))
            .await?;
        let response = self.client.expect(response, &[202]).await?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| Error::new(ErrorKind::Network, "the registry does not say where to upload to"))?;
        let mut url = self.client.join(location)?;
        url.query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());

        let activity = Activity::default();
        let pieces: Vec<Vec<u8>> = content.chunks(PIECE).map(<[u8]>::to_vec).collect();
        let body = || {
            let (activity, progress) = (activity.clone(), self.progress.clone());
            let pieces = pieces.clone().into_iter().map(move |piece| {
                activity.tick();
                progress.report(Transfer::Moved(piece.len() as u64));
                Ok::<_, std::io::Error>(piece)
            });
            Body::wrap_stream(stream::iter(pieces))
        };
        let response = self
            .client
            .send_with_activity(Method::PUT, url, &activity, |request| {
                request
                    .header(CONTENT_TYPE, "application/octet-stream")
                    .header(CONTENT_LENGTH, content.len())
                    .body(body())
            })
            .await?;
        self.client.expect(response, &[201]).await.map(drop)
    }

    async fn put_manifest(&self, descriptor: &Descriptor, text: Vec<u8>, key: &str) -> Result<()> {
        let url = self.client.url(&format!("manifests/{key}"))?;
        let response = self
            .client
            .send(Method::PUT, url, |request| {
                request.header(CONTENT_TYPE, &descriptor.media_type).body(text.clone())
            })
            .await?;
        self.client.expect(response, &[201, 200]).await.map(drop)
    }
}
