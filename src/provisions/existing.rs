//! Compares a provision that exists already with a request that has the same key.
//!
//! bunq shows neither the e-mail address nor the phone number of a user. What it shows, and the request says too, is
//! compared here, for one creation and for many.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Sent};
use crate::types::{
    CreateProvisionRequest, LabelUserType, Product, Provision, ProvisionId, ProvisionStatus, Timestamp,
    UserVerifiedType,
};

/// What matters of a provision that exists already. It is small, because a whole listing may be held.
#[derive(Debug, Clone)]
pub(crate) struct Existing {
    pub(crate) id: ProvisionId,
    pub(crate) created: Option<Timestamp>,
    shown: Arc<Shown>,
}

/// What many provisions have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    status: ProvisionStatus,
    user_type: Option<LabelUserType>,
    products: Vec<Product>,
    country: Option<String>,
}

impl From<&Provision> for Existing {
    fn from(seen: &Provision) -> Self {
        let label = seen.label_user.as_ref();
        let shown = Shown {
            status: seen.status.clone(),
            user_type: label.and_then(|label| label.type_.clone()),
            products: seen.products.clone(),
            country: label.and_then(|label| label.country.clone()),
        };
        Self { id: seen.id, created: seen.created, shown: Arc::new(shown) }
    }
}

impl Existing {
    /// The same, sharing with earlier ones what they have in common.
    pub(crate) fn sharing(mut self, known: &mut HashSet<Arc<Shown>>) -> Self {
        match known.get(&self.shown) {
            Some(shown) => self.shown = Arc::clone(shown),
            None => _ = known.insert(Arc::clone(&self.shown)),
        }
        self
    }

    pub(crate) fn is_over(&self) -> bool {
        self.shown.status.is_over()
    }

    /// Refuses a provision that cannot be taken for the one that is requested: one that is over, or that
    /// [differs](Self::compare).
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable), which names the provision.
    pub(crate) fn check(&self, new: &CreateProvisionRequest) -> Result<(), Error> {
        if !self.is_over() {
            return self.compare(new);
        }
        let (id, status, external_uuid) = (self.id, &self.shown.status, new.external_uuid());
        let problem = format_args!(
            "the external_uuid {external_uuid} is that of provision {id}, which is {status}; give a new user another \
             external_uuid"
        );
        Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem))
    }

    /// Refuses a provision that differs from what is requested, as far as bunq shows it.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable), which names the provision and the differences.
    pub(crate) fn compare(&self, new: &CreateProvisionRequest) -> Result<(), Error> {
        let differences = self.differences(new);
        if differences.is_empty() {
            return Ok(());
        }
        let created = self.created.map(|created| format!(", created {}", created.as_jiff())).unwrap_or_default();
        let problem = format_args!(
            "the external_uuid {} is that of provision {}{created}, which differs from the request: it {}; give another user \
             another external_uuid",
            new.external_uuid(),
            self.id,
            differences.join(", and ")
        );
        Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem))
    }

    /// How it differs from what is requested. What bunq does not show yet, or shows with unknown values, is not compared.
    fn differences(&self, new: &CreateProvisionRequest) -> Vec<String> {
        let (user_type, products, country) = match new {
            CreateProvisionRequest::NewProvision(new) => {
                (Some(&new.user_verified_type), &new.products, new.country_of_residence.as_ref())
            }
            CreateProvisionRequest::NewProvisionByPointer(new) => (None, &new.products, None),
        };
        let mut differences = Vec::new();
        match (&self.shown.user_type, user_type) {
            (Some(LabelUserType::Company), Some(UserVerifiedType::PartnerUserPerson)) => {
                differences.push("is a company (requested: a person)".to_owned());
            }
            (Some(LabelUserType::Person), Some(UserVerifiedType::PartnerUserCompany)) => {
                differences.push("is a person (requested: a company)".to_owned());
            }
            _ => {}
        }
        let is_known = !self.shown.products.iter().any(|product| matches!(product, Product::Unknown(_)));
        let shown = names(self.shown.products.iter().map(Product::as_str));
        let requested = names(products.iter().map(|product| product.as_str()));
        if is_known && !shown.is_empty() && shown != requested {
            differences.push(format!("has the products {shown} (requested: {requested})"));
        }
        if let (Some(shown), Some(requested)) = (&self.shown.country, country)
            && !shown.eq_ignore_ascii_case(requested.as_str())
        {
            differences.push(format!("has the country {shown} (requested: {})", requested.as_str()));
        }
        differences
    }
}

/// Names in their order, each once.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use uuid::Uuid;

    use super::*;
    use crate::types::{NewProvision, NewProvisionByPointer};

    /// How a provision with these members differs from a request.
    fn differences(new: impl Into<CreateProvisionRequest>, members: &str) -> Vec<String> {
        let json = format!(r#"{{"id": 7, "status": "CREATED"{members}}}"#);
        let seen: Provision = serde_json::from_str(&json).unwrap();
        Existing::from(&seen).differences(&new.into())
    }

    #[test]
    fn what_bunq_shows_is_compared() {
        test_timeout::start();
        let (email, phone) = (|| "ada@example.com".parse().unwrap(), || "+31600000000".parse().unwrap());
        let person = || NewProvision::person(Uuid::nil(), email(), phone());
        let company = || NewProvision::company(Uuid::nil(), email(), phone(), 5_u64.try_into().unwrap());
        let audited = || person().with_transaction_audit(date(1990, 1, 31), "NL".parse().unwrap());
        let shown = |kind: &str, country: &str, products: &str| {
            format!(r#", "label_user": {{"type": {kind}, "country": {country}}}, "products": {products}"#)
        };
        let verified = r#"["USER_VERIFIED"]"#;
        let both = r#"["USER_ANONYMOUS_TRANSACTION_AUDIT", "USER_VERIFIED"]"#;
        let none: [&str; 0] = [];
        for (new, members, expected) in [
            (person(), shown(r#""PERSON""#, r#""BE""#, verified), &none[..]),
            (audited(), shown(r#""PERSON""#, r#""nl""#, both), &none),
            // Not shown, not yet, or in words that are not known.
            (company(), String::new(), &none),
            (company(), r#", "label_user": null, "products": null"#.to_owned(), &none),
            (company(), shown(r#""CLUB""#, "null", r#"["USER_VERIFIED", "GOLD"]"#), &none),
            (person(), shown(r#""COMPANY""#, "null", "[]"), &["is a company (requested: a person)"]),
            (
                company(),
                shown(r#""PERSON""#, "null", verified),
                &["is a person (requested: a company)", "has the products USER_VERIFIED (requested: COMPANY_VERIFIED)"],
            ),
            (
                audited(),
                shown(r#""PERSON""#, r#""BE""#, verified),
                &[
                    "has the products USER_VERIFIED (requested: USER_ANONYMOUS_TRANSACTION_AUDIT, USER_VERIFIED)",
                    "has the country BE (requested: NL)",
                ],
            ),
            (
                person(),
                shown("null", "null", both),
                &["has the products USER_ANONYMOUS_TRANSACTION_AUDIT, USER_VERIFIED (requested: USER_VERIFIED)"],
            ),
        ] {
            assert_eq!(differences(new, &members), expected, "{members}");
        }
        let pointer = || NewProvisionByPointer::email(Uuid::nil(), email(), "Ada".parse().unwrap());
        assert!(differences(pointer(), &shown(r#""COMPANY""#, r#""BE""#, verified)).is_empty());
        assert_eq!(differences(pointer(), &shown("null", "null", r#"["COMPANY_VERIFIED"]"#)).len(), 1);
    }
}
