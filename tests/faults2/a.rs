//! Logins that expire, are refused, or are asked for in odd ways.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::ErrorClass;
use octobundle::registry::{AuthFile, AuthFiles, Credential, RegistrySettings, Secret};

use crate::client::{
    BASIC, ask_for_password, ask_for_token, bearer, content, described, error, manifest_reply, own, part_of, pulled,
    pushed, put, registry, repository, settings, shown, tag, takes_uploads, token, with, with_login,
};
use crate::scripted::{Reply, Scripted, Seen};

/// Whether a token server was asked for the right to push.
fn wants_push(seen: &Seen) -> bool {
    seen.target.contains("pull%2Cpush")
}

#[tokio::test]
async fn a_01_a_token_that_dies_between_the_parts_of_an_upload_is_renewed_and_nothing_is_sent_twice() {
    let layer = content();
    let (stored, tokens) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let server = Scripted::start({
        let stored = stored.clone();
        move |seen, _| {
            let mut stored = stored.lock().unwrap();
            // Each token is good for the bytes that fit into one part.
            let good = format!("Bearer T{}", stored.len() / 100_000);
            let standing = |stored: &Vec<u8>| format!("0-{}", stored.len().saturating_sub(1));
            match (seen.line().as_str(), seen.header("authorization")) {
                ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
                (_, Some(given)) if given != good => ask_for_token(seen),
                (_, None) => ask_for_token(seen),
                ("POST /v2/a/b/blobs/uploads/", _) => Reply::new(202).header("Location", "/u/1"),
                ("PUT /u/1", _) if !seen.body.is_empty() => Reply::new(413),
                ("PUT /u/1", _) => Reply::new(201),
                ("DELETE /u/1", _) => Reply::new(204),
                ("PATCH /u/1", _) => {
                    let begin = format!("{}-", stored.len());
                    assert!(seen.header("content-range").unwrap().starts_with(&begin), "{seen:?}");
                    stored.extend_from_slice(&seen.body);
                    Reply::new(202).header("Location", "/u/1").header("Range", standing(&stored))
                }
                ("GET /u/1", _) => Reply::new(204).header("Location", "/u/1").header("Range", standing(&stored)),
                _ => Reply::new(404),
            }
        }
    })
    .await;
    pushed(&registry(settings()), &repository(&server), &layer).await.unwrap();
    assert_eq!(*stored.lock().unwrap(), layer);
    assert!(server.count("GET", "/u/1") > 0, "the registry was asked where it stands");
}

#[tokio::test]
async fn a_01_a_token_that_is_dead_by_the_time_of_the_manifest_is_renewed() {
    let tokens = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        ("PUT /v2/a/b/manifests/1", Some("Bearer T1")) => Reply::new(201),
        ("PUT /v2/a/b/manifests/1", _) | (_, None) => ask_for_token(seen),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    pushed(&registry, &at, &content()).await.unwrap();
    put(&registry, &at).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_03_a_registry_that_is_open_at_its_root_is_logged_into_for_the_repository() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /v2/", _) => Reply::new(200).body("{}"),
        ("GET /token", _) if seen.target.contains("scope=repository%3Aa%2Fb%3Apull") => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    registry(settings()).document(&repository(&server), &tag()).await.unwrap();
    assert_eq!(server.count("GET", "/v2/a/b/manifests/1"), 2, "the repository's own answer counts");
}

#[tokio::test]
async fn a_04_of_two_schemes_tokens_are_preferred_and_odd_spelling_does_not_matter() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", Some(BASIC)) => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => Reply::new(401)
            .header(
                "WWW-Authenticate",
                format!(r#"bearer Realm="{}/token",service=reg,,scope="repository:a/b:pull,push""#, own(seen)),
            )
            .header("WWW-Authenticate", r#"Basic realm="a, b", charset="UTF-8""#),
    })
    .await;
    registry(with_login()).document(&repository(&server), &tag()).await.unwrap();
    let to_registry: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.target.starts_with("/v2/"))
        .map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(to_registry, [None, Some("Bearer T".to_owned())], "the registry itself never sees the password");
}

#[tokio::test]
async fn a_05_a_token_for_pulling_is_not_used_for_pushing() {
    // As cgr.dev does it: a token that lacks the right is answered by 403 and no new challenge.
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(if wants_push(seen) { "PUSH" } else { "PULL" }),
        ("GET /v2/a/b/manifests/1", Some("Bearer PULL")) => manifest_reply(),
        ("PUT /v2/a/b/manifests/1", Some("Bearer PUSH")) => Reply::new(201),
        (_, None) => ask_for_token(seen),
        _ => error(403, "DENIED", "insufficient scope"),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    registry.document(&at, &tag()).await.unwrap();
    put(&registry, &at).await.unwrap();
    registry.document(&at, &tag()).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2, "one token for each right");
}

#[cfg(unix)]
#[tokio::test]
async fn a_07_a_helper_that_fails_ends_the_search_and_nothing_is_sent_without_its_login() {
    let folder = tempfile::tempdir().unwrap();
    let server = Scripted::start(|_, _| ask_for_password()).await;
    let host = server.host();
    let files = |helper: &str| {
        let first = format!(r#"{{"credHelpers":{{"{host}":"{helper}"}}}}"#);
        let second = format!(r#"{{"auths":{{"{host}":{{"username":"bob","password":"CANARY-password"}}}}}}"#);
        let text = |name: &str, json: String| AuthFile::Text { name: name.into(), json: Secret::new(json) };
        let files = AuthFiles::new(vec![text("first", first), text("second", second)], vec![folder.path().into()]);
        RegistrySettings { credentials: Arc::new(files), ..settings() }
    };
    crate::secrets::helper(folder.path(), "broken", "echo the keychain is locked; exit 1");
    crate::secrets::helper(folder.path(), "unknown", "echo credentials not found in native keychain; exit 1");
    for (helper, sent) in [("broken", false), ("missing", false), ("unknown", true)] {
        let failure = registry(files(helper)).document(&repository(&server), &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Access, "{failure}");
        let logins = server.seen().iter().filter(|seen| seen.header("authorization").is_some()).count();
        assert_eq!(logins > 0, sent, "{helper}: {failure}");
        assert!(sent || shown(&failure).contains(&format!("docker-credential-{helper}")), "{}", shown(&failure));
    }
}

#[tokio::test]
async fn a_08_a_token_server_that_stumbles_is_asked_again() {
    for trouble in
        [Reply::new(503), Reply::new(500), Reply::new(429), Reply::lost(), Reply::new(200).body("{}").silent_after(1)]
    {
        let asked = AtomicUsize::new(0);
        let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
            ("GET /token", _) if asked.fetch_add(1, Ordering::SeqCst) == 0 => trouble.clone(),
            ("GET /token", _) => token("T"),
            (_, Some("Bearer T")) => manifest_reply(),
            _ => ask_for_token(seen),
        })
        .await;
        registry(settings()).document(&repository(&server), &tag()).await.unwrap();
        assert_eq!(server.count("GET", "/token"), 2);
    }
}

#[tokio::test]
async fn a_08_a_token_server_that_wants_a_pause_gets_it() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::start(move |seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) if asked.fetch_add(1, Ordering::SeqCst) == 0 => Reply::new(429).header("Retry-After", "1"),
        ("GET /token", _) => token("T"),
        (_, Some("Bearer T")) => manifest_reply(),
        _ => ask_for_token(seen),
    })
    .await;
    registry(settings()).document(&repository(&server), &tag()).await.unwrap();
    let asked: Vec<_> = server.seen().into_iter().filter(|seen| seen.target.starts_with("/token")).collect();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1), "{:?}", asked[1].at - asked[0].at);
}

#[tokio::test]
async fn a_09_acr_gives_an_access_token_for_a_refresh_token() {
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.header("authorization")) {
        // ACR's names: the challenge is for /oauth2/token, which takes POST alone for refresh tokens.
        ("POST /oauth2/token", None) => {
            let form = String::from_utf8(seen.body.clone()).unwrap();
            let sound = [
                "grant_type=refresh_token",
                "service=corp.azurecr.io",
                "refresh_token=CANARY-refresh",
                "scope=repository%3Aa%2Fb%3Apull",
            ];
            if sound.iter().all(|part| form.contains(part)) {
                Reply::new(200).body(r#"{"access_token":"T"}"#)
            } else {
                error(400, "BAD", &form)
            }
        }
        (_, Some("Bearer T")) => manifest_reply(),
        _ => {
            let realm = format!(
                r#"Bearer realm="{}/oauth2/token",service="corp.azurecr.io",scope="repository:a/b:pull""#,
                own(seen)
            );
            Reply::new(401).header("WWW-Authenticate", realm)
        }
    })
    .await;
    let settings = with(Credential::IdentityToken(Secret::new("CANARY-refresh")));
    registry(settings).document(&repository(&server), &tag()).await.unwrap();
    let to_registry = server.seen().into_iter().filter(|seen| seen.target.starts_with("/v2/"));
    assert!(to_registry.into_iter().all(|seen| !format!("{seen:?}").contains("CANARY")), "{:?}", server.lines());
}

#[tokio::test]
async fn a_09_a_refresh_token_that_is_no_longer_good_is_tried_once() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "POST /token" => Reply::new(400).body(r#"{"error":"invalid_grant"}"#),
        _ => ask_for_token(seen),
    })
    .await;
    let registry = registry(with(Credential::IdentityToken(Secret::new("CANARY-refresh"))));
    for _ in 0..2 {
        let failure = registry.document(&repository(&server), &tag()).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Access);
        assert!(
            shown(&failure).contains("octobundle login") && !shown(&failure).contains("CANARY"),
            "{}",
            shown(&failure)
        );
    }
    assert_eq!(server.count("POST", "/token"), 1);
}

#[tokio::test]
async fn a_10_a_blob_is_uploaded_where_its_mount_was_refused() {
    let layer = content();
    let server = Scripted::start(|seen, _| match (seen.line().as_str(), seen.target.matches("scope=").count()) {
        ("GET /token", 2) => error(403, "DENIED", "no right to the other repository"),
        ("GET /token", _) => token("T"),
        _ if seen.header("authorization").is_none() => ask_for_token(seen),
        _ => takes_uploads(seen, "/u/1"),
    })
    .await;
    let (registry, at) = (registry(settings()), repository(&server));
    let from = format!("{}/c/d", server.host()).parse().unwrap();
    assert!(!registry.mount(&at, &from, &described(&layer)).await.unwrap());
    pushed(&registry, &at, &layer).await.unwrap();
    let put = server.seen().into_iter().find(|seen| seen.method == "PUT").unwrap();
    assert_eq!((put.body, put.target.contains("from=")), (layer, false));
}

#[tokio::test]
async fn a_11_a_token_that_is_never_taken_is_given_up_soon() {
    let server = Scripted::start(|seen, _| match seen.line().as_str() {
        "GET /token" => token("T"),
        _ => ask_for_token(seen),
    })
    .await;
    let lookup = Lookup::Tag("1".parse().unwrap());
    let failure = registry(with_login()).document(&repository(&server), &lookup).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Access);
    assert!(server.count("GET", "/token") <= 3, "{:?}", server.lines());
}

#[tokio::test]
async fn a_01_a_signed_download_goes_on_when_the_registrys_token_has_died() {
    let layer = content();
    let bytes = layer.clone();
    let store = Scripted::start(move |seen, before| {
        let reply = part_of(&bytes, seen);
        if before == 0 { reply.cut_after(200_000) } else { reply }
    })
    .await;
    let (target, tokens) = (store.url("/signed"), AtomicUsize::new(0));
    let server = Scripted::start(move |seen, before| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => token(&format!("T{}", tokens.fetch_add(1, Ordering::SeqCst))),
        (_, Some("Bearer T0")) if before < 4 => Reply::new(307).header("Location", &target),
        (_, Some("Bearer T1")) => Reply::new(307).header("Location", &target),
        _ => Reply::new(401).header("WWW-Authenticate", bearer(&own(seen))),
    })
    .await;
    assert_eq!(pulled(&registry(settings()), &repository(&server), &described(&layer)).await.unwrap(), layer);
    assert!(store.seen().iter().all(|seen| seen.header("authorization").is_none()));
}
