//! `onboard --dry-run`: the requests of a run, for a user of whom bunq has nothing yet and wants all that is given.

use super::super::arguments::OnboardOptions;
use super::super::exit::Failure;
use super::super::invocation::Invocation;
use super::super::provisions::show_requests_for_user;
use super::answers::Answers;
use super::run::{Source, statuses};

/// Shows the requests in the order in which they are sent.
pub(super) fn rehearse(invocation: &Invocation, options: &OnboardOptions, source: &Source) -> Result<(), Failure> {
    let user = invocation.user(options.id)?;
    let (onboarding, identity) = (user.onboarding(), user.identity());
    let mut previews = vec![onboarding.preview_start()?, onboarding.preview_request(&statuses())?];
    let first = previews.len();
    let document = match source {
        Source::File(Answers { given, document }) => {
            for answer in given {
                previews.push(onboarding.preview_answer(answer)?);
            }
            document.as_ref()
        }
        Source::Person | Source::Nobody => None,
    };
    let mut has_given = previews.len() > first;
    if options.identity_token_file.is_some() {
        previews.push(identity.preview_start()?);
    }
    if let Some(session) = options.submit_identity {
        previews.push(identity.preview_submit(session)?);
        has_given = true;
    }
    if let Some(document) = document {
        previews.push(user.documents().preview_link(document)?);
        has_given = true;
    }
    if has_given {
        previews.push(onboarding.preview_request(&statuses())?);
    }
    show_requests_for_user(invocation.format(), previews, options.personal)
}
