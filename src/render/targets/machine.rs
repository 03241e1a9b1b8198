//! Machines that start an agent by themselves: a virtual one on Windows, and any that cloud-init sets up.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::quote::Quoting;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::host::{FOLDER, HostFiles};
use crate::render::template::{Template, text};

const VAGRANT: Template<'_> = Template { name: "Vagrantfile", text: include_str!("../../../templates/Vagrantfile") };
const WSL: Template<'_> = Template { name: "wsl.ps1", text: include_str!("../../../templates/wsl.ps1") };
const USER_DATA: Template<'_> =
    Template { name: "user-data.yaml", text: include_str!("../../../templates/user-data.yaml") };

/// A `Vagrantfile` for `VirtualBox` and a script for WSL 2, with the files that both put into the machine.
pub(in crate::render) fn vagrant(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let files = HostFiles::new(answers, images)?;
    let machine = answers.machine_box.as_ref().expect("it was checked that this target has a box");
    let names = || Value::from(files.all().map(|file| text(file.name())).collect::<Vec<_>>());
    let start = format!("sudo sh \"$HOME\"/.octoperf-agent/{}", Quoting::Sh.quoted(files.script.name())?);
    let vagrant = VAGRANT.fill(&[
        ("box", text(machine.as_str())),
        ("name", text(&files.name())),
        ("files", names()),
        ("start", text(&start)),
    ])?;
    let wsl = WSL.fill(&[("files", names()), ("script", text(files.script.name()))])?;
    let own = [
        RenderedFile::new("Vagrantfile", FileMode::Plain, vagrant),
        RenderedFile::new("wsl.ps1", FileMode::Plain, wsl),
    ];
    Ok(Rendered {
        agent: Some(files.image()),
        images: vec![files.image()],
        notes: files.notes(&[
            "A Vagrant box is no container image: carry it inside by other means (`vagrant box add FILE`).",
            "OctoPerf means VirtualBox for evaluation and prefers WSL 2; both need the processor's virtualisation.",
        ]),
        files: own.into_iter().chain(files.all().cloned()).collect(),
        arguments: None,
    })
}

/// User data for a machine that starts an agent when it boots. One file, which holds the secrets.
pub(in crate::render) fn cloud_init(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let files = HostFiles::new(answers, images)?;
    let placed = |file: &RenderedFile| {
        Value::from_pairs([
            ("path", text(&format!("{FOLDER}/{}", file.name()))),
            ("mode", text(&format!("{:04o}", file.mode().bits()))),
            ("content", text(file.content())),
        ])
    };
    let script = format!("{FOLDER}/{}", files.script.name());
    let data = USER_DATA.fill(&[
        ("folder", text(FOLDER)),
        ("files", Value::from(files.all().map(placed).collect::<Vec<_>>())),
        ("script", text(&script)),
    ])?;
    Ok(Rendered {
        files: vec![RenderedFile::new(format!("user-data-{}.yaml", files.name()), FileMode::Secret, data)],
        arguments: None,
        agent: Some(files.image()),
        images: vec![files.image()],
        notes: files.notes(&[
                "The user data holds the token: whoever may read it at the cloud's metadata service can use it.",
                "A machine that OctoPerf starts and that is silent for minutes is started anew: have the images in the machine's own image.",
        ]),
    })
}
