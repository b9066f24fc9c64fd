//! The set of alert formats: built in, and the user's.
//!
//! Contract: a [`Formats`] is compiled and complete; whoever has one need not check again. The built-in formats
//! are part of the binary, so that they cannot be missing.

use super::plan::{Alternative, Plan};
use super::read::{FormatProblem, Written, read};

/// A format of one [`Formats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormatId(pub(crate) u16);

/// The built-in formats: file name and text.
const BUILT_IN: &[(&str, &str)] = &[
    ("aws_cloudtrail.yaml", include_str!("../../config/formats/aws_cloudtrail.yaml")),
    ("aws_guardduty.yaml", include_str!("../../config/formats/aws_guardduty.yaml")),
    ("cloudflare.yaml", include_str!("../../config/formats/cloudflare.yaml")),
    ("cortex_xdr.yaml", include_str!("../../config/formats/cortex_xdr.yaml")),
    ("crowdstrike.yaml", include_str!("../../config/formats/crowdstrike.yaml")),
    ("datadog_signal.yaml", include_str!("../../config/formats/datadog_signal.yaml")),
    ("ecs.yaml", include_str!("../../config/formats/ecs.yaml")),
    ("google_secops.yaml", include_str!("../../config/formats/google_secops.yaml")),
    ("microsoft_graph.yaml", include_str!("../../config/formats/microsoft_graph.yaml")),
    ("ocsf.yaml", include_str!("../../config/formats/ocsf.yaml")),
    ("oracle_casb.yaml", include_str!("../../config/formats/oracle_casb.yaml")),
    ("splunk_notable.yaml", include_str!("../../config/formats/splunk_notable.yaml")),
];

/// Tests and rules are numbered in 16 bits.
const MOST: usize = u16::MAX as usize - 1;

/// A compiled set of alert formats.
#[derive(Clone, Debug, Default)]
pub struct Formats {
    named: Vec<Named>,
    all: Plan,
}

#[derive(Clone, Debug)]
struct Named {
    name: String,
    vendor: Option<String>,
    /// Where it is written: the file, and the line and column of `vendor`, else of `name`.
    place: (String, usize, usize),
    plan: Plan,
}

impl Formats {
    /// The built-in formats. A test proves that they compile.
    pub fn built_in() -> Formats {
        Formats::with_user_files(&[]).unwrap_or_default()
    }

    /// The built-in formats and the user's, given as (name for messages, YAML text). A name that is taken is a
    /// problem unless the format says `replaces: NAME`. All problems of all files come at once.
    pub fn with_user_files(files: &[(String, String)]) -> Result<Formats, Vec<FormatProblem>> {
        let mut problems = Vec::new();
        let mut load = |name: &str, text: &str| {
            read(name, text).unwrap_or_else(|found| {
                problems.extend(found);
                Vec::new()
            })
        };
        let mut built_in: Vec<Written> = BUILT_IN.iter().flat_map(|(name, text)| load(name, text)).collect();
        let user: Vec<Written> = files.iter().flat_map(|(name, text)| load(name, text)).collect();
        // The user's come first: between equally good matches theirs wins.
        let mut formats: Vec<Written> = Vec::new();
        for written in user {
            let Written { format, file, line, column, .. } = &written;
            let mut problem = |what| {
                problems.push(FormatProblem { file: file.clone(), line: *line, column: *column, what });
            };
            if let Some(old) = &format.replaces {
                let before = built_in.len();
                built_in.retain(|known| known.format.name != *old);
                if built_in.len() == before {
                    problem(format!(
                        "it replaces {old:?}, but no built-in format has this name (or another file replaces it)"
                    ));
                }
            }
            let name = &format.name;
            if built_in.iter().any(|known| known.format.name == *name) {
                problem(format!(
                    "{name:?} is a built-in format: choose another name, or write `replaces: {name}`"
                ));
            } else if formats.iter().any(|known| known.format.name == *name) {
                problem(format!("the name {name:?} is used twice: choose another one"));
            }
            formats.push(written);
        }
        formats.extend(built_in);
        if problems.is_empty() { compile(&formats) } else { Err(problems) }
    }

    /// The format of this name.
    pub fn id(&self, name: &str) -> Option<FormatId> {
        self.named.iter().position(|format| format.name == name).map(|at| FormatId(at as u16))
    }

    /// The name of a format; `unknown` for one of another set.
    pub fn name(&self, id: FormatId) -> &str {
        self.named.get(usize::from(id.0)).map_or("unknown", |format| &format.name)
    }

    /// Every name, the user's first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|format| format.name.as_str())
    }

    /// The provider type whose own alerts these are; `None` for formats of many vendors.
    pub fn vendor(&self, id: FormatId) -> Option<&str> {
        self.named.get(usize::from(id.0)).and_then(|format| format.vendor.as_deref())
    }

    /// The same set, if `problem` finds nothing wrong with any word after `vendor`: only the list of providers knows
    /// which there are.
    pub fn with_vendors(
        self,
        problem: impl Fn(&str) -> Option<String>,
    ) -> Result<Formats, Vec<FormatProblem>> {
        let problems: Vec<_> = self
            .named
            .iter()
            .filter_map(|Named { vendor, place: (file, line, column), .. }| {
                let what = problem(vendor.as_deref()?)?;
                Some(FormatProblem { file: file.clone(), line: *line, column: *column, what })
            })
            .collect();
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }

    /// What to read when the format is not known.
    pub(crate) fn all(&self) -> &Plan {
        &self.all
    }

    /// What to read when it is.
    pub(crate) fn one(&self, id: FormatId) -> &Plan {
        self.named.get(usize::from(id.0)).map_or(&self.all, |format| &format.plan)
    }
}

fn compile(formats: &[Written]) -> Result<Formats, Vec<FormatProblem>> {
    let mut all = Plan::default();
    let mut named = Vec::new();
    for (at, Written { format, file, line, column, vendor }) in formats.iter().enumerate() {
        let at = at as u16;
        let mut plan = Plan::default();
        for rule in &format.rules {
            plan.rule(at, rule);
            all.rule(at, rule);
        }
        for conditions in &format.recognise {
            let needs = conditions.iter().map(|(place, expect)| all.condition(place, expect)).collect();
            all.alternatives.push(Alternative { format: at, needs, priority: format.priority });
        }
        let (line, column) = vendor.unwrap_or((*line, *column));
        named.push(Named {
            name: format.name.clone(),
            vendor: format.vendor.clone(),
            place: (file.clone(), line, column),
            plan: plan.finish(),
        });
    }
    if all.tests.len() > MOST || all.rules.len() > MOST || formats.len() > MOST {
        let what = format!("the formats have more than {MOST} rules or conditions together: leave some out");
        return Err(vec![FormatProblem { file: "formats".into(), line: 1, column: 1, what }]);
    }
    Ok(Formats { named, all: all.finish() })
}
