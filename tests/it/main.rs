//! One binary of integration tests: a file a subject. No mocks: the real store in a temporary folder, a manual clock, a real server on a
//! loopback port.

mod support;

mod accrual;
mod activities;
mod backup;
mod consumption;
mod crash;
mod damage;
mod discretion;
mod domain_properties;
mod due;
mod erasure;
mod flags;
mod fraud;
mod health;
mod holds;
mod import;
mod inactivity;
mod late_sales;
mod ledger;
mod member;
mod merge;
mod offline;
mod overload;
mod pending;
mod points;
mod power;
mod precedence;
mod purchase;
mod races;
mod reads;
mod redemption;
mod refused_input;
mod return_properties;
mod returns;
mod rule_book;
mod schedule;
mod serve;
mod services;
mod simulation;
mod store_contract;
mod store_damage;
mod tidy;
mod transfer;
