//! How fast the core decides and checks, without network or disk: `cargo bench`.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use octobundle::bundle::Layout;
use octobundle::content::Unverified;
use octobundle::images::{LOCK_SCHEMA, Lock, LockedContent, LockedImage, LockedPlatform};
use octobundle::oci::{Descriptor, Digest, Hasher, ImageRef, MediaType};
use octobundle::plan::{MirrorMap, Presence, PullPlan, PushPlan, SourceHost, Target};

const IMAGES: usize = 10_000;

/// Images of four layers: one shared by all, one by ten of them, two of their own.
fn lock(images: usize) -> Lock {
    let content = |kind: &str, name: String| LockedContent {
        media_type: MediaType::from(format!("application/vnd.oci.image.{kind}")),
        digest: Digest::of(name.as_bytes()),
        size: 1_000,
    };
    let layer = |name: String| content("layer.v1.tar+gzip", name);
    let image = |number: usize| {
        let name: ImageRef = format!("registry.test/many/image-{number}:1.0").parse().expect("it is a name");
        let manifest = content("manifest.v1+json", format!("manifest {number}"));
        let layers = ["all".into(), format!("ten {}", number / 10), format!("own {number}"), format!("more {number}")];
        let platform = LockedPlatform {
            platform: None,
            manifest: manifest.clone(),
            config: content("config.v1+json", format!("config {number}")),
            layers: layers.into_iter().map(layer).collect(),
        };
        LockedImage {
            source: name.repository().clone(),
            name,
            role: "load-generator".into(),
            groups: BTreeSet::new(),
            root: manifest,
            index: None,
            derived: false,
            insecure: false,
            platforms: vec![platform],
        }
    };
    Lock {
        schema: LOCK_SCHEMA.into(),
        release: "bench".into(),
        title: "Bench".into(),
        manifest: Digest::of(b"manifest"),
        images: (0..images).map(image).collect(),
    }
}

fn layout(criterion: &mut Criterion) {
    let lock = lock(IMAGES);
    criterion.bench_function("layout of 10,000 images", |bench| {
        bench.iter_batched(|| lock.clone(), |lock| Layout::new(lock).expect("it fits"), BatchSize::PerIteration);
    });
}

fn plans(criterion: &mut Criterion) {
    let lock = lock(IMAGES);
    let layout = Layout::new(lock.clone()).expect("it fits");
    let order: Vec<Digest> = layout.lock().layers().into_keys().collect();
    criterion.bench_function("plan of a pull of 10,000 images", |bench| {
        bench.iter(|| PullPlan::new(black_box(&lock), &order, &BTreeSet::new()));
    });
    let target = Target::parse("reg.test/tools", SourceHost::Drop).expect("it is a target");
    criterion.bench_function("names and plan of a push of 10,000 images", |bench| {
        bench.iter(|| {
            let names = MirrorMap::of_lock(black_box(&lock), &target).expect("they are distinct");
            PushPlan::new(&lock, &names, &Presence::default())
        });
    });
}

fn verifying_reader(criterion: &mut Criterion) {
    const CHUNK: usize = 256 * 1024;
    let bytes: bytes::Bytes = (0..=250).cycle().take(64 * CHUNK).collect::<Vec<u8>>().into();
    let blob = Descriptor::new("application/octet-stream", Digest::of(&bytes), bytes.len() as u64);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let mut group = criterion.benchmark_group("16 MiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("SHA-256 alone", |bench| bench.iter(|| Digest::of(black_box(&bytes))));
    group.bench_function("through the verifying reader", |bench| {
        bench.iter(|| {
            let chunks: Vec<_> = bytes.chunks(CHUNK).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
            let content = Unverified::new(futures_util::stream::iter(chunks));
            let mut reader = content.expecting(&blob, Hasher::new());
            runtime.block_on(async { while reader.next().await.expect("they are right").is_some() {} });
        });
    });
    group.finish();
}

criterion_group!(benches, layout, plans, verifying_reader);
criterion_main!(benches);
