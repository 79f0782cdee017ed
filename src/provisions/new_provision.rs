//! Constructors of the two request bodies that create a provision.

use jiff::civil::Date;
use uuid::Uuid;

use crate::types::{
    CountryCode, EmailAddress, NewProvision, NewProvisionByPointer, PhoneNumber, Pointer, PointerType, PointerValue,
    ProvisionId, RequestedProduct, UserName, UserVerifiedType,
};

impl NewProvision {
    /// Makes the request for a person, verified by bunq (`USER_VERIFIED`).
    pub fn person(external_uuid: Uuid, email: EmailAddress, phone_number: PhoneNumber) -> Self {
        let products = vec![RequestedProduct::UserVerified];
        Self::new(email, external_uuid, phone_number, products, UserVerifiedType::PartnerUserPerson)
    }

    /// Makes the request for a company, verified by bunq (`COMPANY_VERIFIED`), whose director is the person of another provision.
    pub fn company(external_uuid: Uuid, email: EmailAddress, phone_number: PhoneNumber, director: ProvisionId) -> Self {
        Self {
            user_verified_type: UserVerifiedType::PartnerUserCompany,
            products: vec![RequestedProduct::CompanyVerified],
            director_relation_provision_id: Some(director),
            ..Self::person(external_uuid, email, phone_number)
        }
    }

    /// Requests `USER_ANONYMOUS_TRANSACTION_AUDIT` too, which needs the date of birth and the country of residence.
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
    /// Makes the request for a user who is identified by an e-mail address.
    pub fn email(external_uuid: Uuid, email: EmailAddress, name: UserName) -> Self {
        Self::pointing(external_uuid, PointerType::Email, email.into(), name)
    }

    /// Makes the request for a user who is identified by a phone number.
    pub fn phone_number(external_uuid: Uuid, phone_number: PhoneNumber, name: UserName) -> Self {
        Self::pointing(external_uuid, PointerType::PhoneNumber, phone_number.into(), name)
    }

    fn pointing(external_uuid: Uuid, type_: PointerType, value: PointerValue, name: UserName) -> Self {
        Self::new(external_uuid, Pointer::new(name, type_, value), vec![RequestedProduct::UserVerified])
    }
}

impl From<EmailAddress> for PointerValue {
    fn from(email: EmailAddress) -> Self {
        Self(email.0)
    }
}

impl From<PhoneNumber> for PointerValue {
    fn from(phone_number: PhoneNumber) -> Self {
        Self(phone_number.0)
    }
}
