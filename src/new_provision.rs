//! What is asked of bunq when a provision is created: ways to make the two request bodies that are whole.

use jiff::civil::Date;
use uuid::Uuid;

use crate::contact::{CountryCode, EmailAddress, PhoneNumber, PointerValue, UserName};
use crate::provision_id::ProvisionId;
use crate::types::{
    NewProvisionByContact, NewProvisionByPointer, Pointer, PointerType, RequestedProduct, UserVerifiedType,
};

impl NewProvisionByContact {
    /// A person, verified by bunq (`USER_VERIFIED`).
    pub fn person(external_uuid: Uuid, email: EmailAddress, phone_number: PhoneNumber) -> Self {
        Self {
            external_uuid,
            user_verified_type: UserVerifiedType::PartnerUserPerson,
            email,
            phone_number,
            products: vec![RequestedProduct::UserVerified],
            date_of_birth: None,
            country_of_residence: None,
            director_relation_provision_id: None,
        }
    }

    /// A company, verified by bunq (`COMPANY_VERIFIED`), whose director is the person of another provision.
    pub fn company(external_uuid: Uuid, email: EmailAddress, phone_number: PhoneNumber, director: ProvisionId) -> Self {
        Self {
            user_verified_type: UserVerifiedType::PartnerUserCompany,
            products: vec![RequestedProduct::CompanyVerified],
            director_relation_provision_id: Some(director),
            ..Self::person(external_uuid, email, phone_number)
        }
    }

    /// Asks for `USER_ANONYMOUS_TRANSACTION_AUDIT` too, for which bunq wants to know these two.
    ///
    /// ```
    /// use bunq_partner::{NewProvision, Uuid, jiff::civil::date};
    ///
    /// let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?)
    ///     .with_transaction_audit(date(1990, 1, 31), "NL".parse()?);
    /// assert_eq!(new.products.len(), 2);
    /// # Ok::<(), bunq_partner::Error>(())
    /// ```
    #[must_use]
    pub fn with_transaction_audit(mut self, date_of_birth: Date, country_of_residence: CountryCode) -> Self {
        self.products.push(RequestedProduct::UserAnonymousTransactionAudit);
        self.date_of_birth = Some(date_of_birth);
        self.country_of_residence = Some(country_of_residence);
        self
    }
}

impl NewProvisionByPointer {
    /// A user who is known by an e-mail address.
    pub fn email(external_uuid: Uuid, email: EmailAddress, name: UserName) -> Self {
        Self::new(external_uuid, PointerType::Email, email.into(), name)
    }

    /// A user who is known by a phone number.
    pub fn phone_number(external_uuid: Uuid, phone_number: PhoneNumber, name: UserName) -> Self {
        Self::new(external_uuid, PointerType::PhoneNumber, phone_number.into(), name)
    }

    fn new(external_uuid: Uuid, type_: PointerType, value: PointerValue, name: UserName) -> Self {
        let pointer = Pointer { type_, value, name };
        Self { external_uuid, pointer, products: vec![RequestedProduct::UserVerified] }
    }
}
