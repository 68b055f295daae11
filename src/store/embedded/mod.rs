//! The default store: a journal that is the ledger, and sled tables to look things up.
use super::*;
pub struct EmbeddedStore;
#[derive(Default)]
pub struct Options {
    pub operator_key: Option<[u8; 32]>,
}
impl EmbeddedStore {
    pub fn open(_: &std::path::Path, _: Options) -> Result<Self, StoreError> {
        Ok(Self)
    }
}
impl Read for EmbeddedStore {
    fn member(&self, _: &MemberKey, _: MemberDemand) -> Result<Option<Member>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn member_by_identifier(&self, _: &ProgramId, _: &Identifier) -> Result<Option<MemberId>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn request(&self, _: &ProgramId, _: &RequestId) -> Result<Option<RequestRow>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn purchase(&self, _: &ProgramId, _: &OrderKey) -> Result<Option<PurchaseRow>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn entries(&self, _: &MemberKey, _: u64, _: u64) -> Result<Vec<Entry>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn lots(&self, _: &MemberKey, _: Option<LotKey>, _: usize) -> Result<Vec<Lot>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn members(&self, _: &ProgramId, _: Option<MemberId>, _: usize) -> Result<Vec<MemberId>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
}
impl Store for EmbeddedStore {
    fn begin<'a>(&'a self, _: &[Name<'_>]) -> Result<Box<dyn Unit + 'a>, StoreError> {
        Err(StoreError::Tables("the embedded store is not in this build".into()))
    }
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
