//! API keys as credentials: whose they are, and from where they may be used.

use std::net::IpAddr;

use bunq_partner::Secret;
use jiff::Timestamp;

use crate::bank::Bank;
use crate::objects::credential_ip::CredentialIp;

/// The id of the credential that the partner's own API key is. No other object has an id below 1001.
const PARTNERS: u64 = 1000;

/// Whose an API key is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHolder {
    pub(crate) user: u64,
    pub(crate) credential: u64,
    pub(crate) registers_devices: bool,
    pub(crate) opens_sessions: bool,
}

impl Bank {
    /// The holder of an API key; `None`: it is none of this bank's.
    pub(crate) fn key_holder(&mut self, api_key: &Secret, now: Timestamp) -> Option<KeyHolder> {
        if *api_key == self.settings.api_key {
            let (registers_devices, opens_sessions) = (true, true);
            return Some(KeyHolder { user: self.partner, credential: PARTNERS, registers_devices, opens_sessions });
        }
        let provision = self.provisions.holder(api_key, now, &mut self.numbers)?;
        let user = provision.user(now, &mut self.numbers).api_key;
        let credential = provision.credential_in_force()?;
        let (registers_devices, opens_sessions) = (credential.awaits_first_use(now), credential.opens_sessions(now));
        Some(KeyHolder { user, credential: credential.id, registers_devices, opens_sessions })
    }

    /// Whether a key may be used from an address; `None`: it is bound to none yet. What its credential says of an address goes before
    /// what it was registered with.
    pub(crate) fn permits(&self, holder: KeyHolder, api_key: &Secret, from: IpAddr) -> Option<bool> {
        let of_credential = self.objects.credential_ips.permits(holder.user, holder.credential, from);
        let of_devices = || {
            let devices = self.access.devices_with(api_key).map(|device| device.permits(from));
            devices.reduce(|one, other| one || other)
        };
        of_credential.or_else(of_devices)
    }

    /// Adds an address to a credential, unless the credential has it.
    pub(crate) fn permit(&mut self, holder: KeyHolder, ip: IpAddr, now: Timestamp) {
        let KeyHolder { user, credential, .. } = holder;
        if self.objects.credential_ips.permits(user, credential, ip).is_none() {
            let content = CredentialIp { credential, ip, is_active: true };
            self.objects.credential_ips.add(user, content, now, &mut self.numbers);
        }
    }
}
