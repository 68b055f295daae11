//! One binary of integration tests: a file a subject. No mocks: the real store in a temporary folder, a manual clock, a real server on a
//! loopback port.

mod support;

mod accrual;
mod backup;
mod crash;
mod damage;
mod discretion;
mod domain_properties;
mod flags;
mod health;
mod import;
mod late_sales;
mod ledger;
mod member;
mod overload;
mod points;
mod power;
mod purchase;
mod races;
mod refused_input;
mod rule_book;
mod serve;
mod services;
mod store_contract;
mod store_damage;
mod tidy;
