//! What the crate spends its time on: `cargo bench -p pyrgos-crypto`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pyrgos_crypto::password::{Params, derive};
use pyrgos_crypto::secretbox::{self, Key, Nonce, OVERHEAD, rustcrypto};
use pyrgos_crypto::{hash, hybrid, sign};

/// The size of a chunk of a file.
const CHUNK: usize = 5 << 20;

fn secretboxes(criterion: &mut Criterion) {
    let (key, nonce) = (Key::from_bytes([1; 32]), Nonce([2; 24]));
    let mut buffer = vec![3; OVERHEAD + CHUNK];
    let mut group = criterion.benchmark_group("secretbox 5 MiB");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.sample_size(20);

    group.bench_function("libsodium seal in place", |bench| {
        bench.iter(|| secretbox::seal_in_place(&key, &nonce, black_box(&mut buffer)));
    });
    group.bench_function("libsodium seal", |bench| {
        bench.iter(|| secretbox::seal(&key, &nonce, black_box(&buffer[OVERHEAD..])));
    });
    let sealed = secretbox::seal(&key, &nonce, &buffer[OVERHEAD..]);
    group.bench_function("libsodium open", |bench| {
        bench.iter(|| secretbox::open(&key, &nonce, black_box(&sealed)).unwrap());
    });
    group.bench_function("RustCrypto seal in place", |bench| {
        let (tag, body) = buffer.split_first_chunk_mut().unwrap();
        bench.iter(|| rustcrypto::seal(&key, &nonce, tag, black_box(body)));
    });
    group.bench_function("RustCrypto open", |bench| {
        let (tag, body) = sealed.split_first_chunk().unwrap();
        bench.iter(|| {
            let mut body = black_box(body).to_vec();
            rustcrypto::open(&key, &nonce, tag, &mut body).unwrap();
            body
        });
    });
    group.finish();
}

fn sha256(criterion: &mut Criterion) {
    let block = vec![5; 1 << 20];
    let mut group = criterion.benchmark_group("sha256");
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("1 MiB", |bench| {
        bench.iter(|| hash::sha256(black_box(&block)));
    });
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let secret = sign::SecretKey::from_seed(&[7; 32]);
    let (public, message) = (secret.public(), [8; 32]);
    let signature = secret.sign(&message);
    criterion.bench_function("ed25519 sign", |bench| {
        bench.iter(|| secret.sign(black_box(&message)));
    });
    criterion.bench_function("ed25519 verify", |bench| {
        bench.iter(|| public.verify(black_box(&signature), &message).unwrap());
    });
}

fn hybrid_messages(criterion: &mut Criterion) {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let key = hybrid::SecretKey::generate(&mut rng);
    let public = key.public();
    let parts = hybrid::seal(&[1; 512], &public, &key.curve, &mut rng).unwrap();
    criterion.bench_function("hybrid seal 512 B", |bench| {
        bench.iter(|| hybrid::seal(&[1; 512], &public, &key.curve, &mut rng).unwrap());
    });
    criterion.bench_function("hybrid open 512 B", |bench| {
        bench.iter(|| hybrid::open(parts.borrow(), &public.curve, &key).unwrap());
    });
}

fn passwords(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrypt");
    group.sample_size(10);
    group.bench_function("17/8/1", |bench| {
        bench.iter(|| derive(black_box("password"), "alice", Params::LOGIN).unwrap());
    });
    group.finish();
}

criterion_group!(kernels, secretboxes, sha256, signatures, hybrid_messages, passwords);
criterion_main!(kernels);
