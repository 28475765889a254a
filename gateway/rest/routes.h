/*
 * The handlers behind the table of routes. Internal to gateway/rest.
 */
#ifndef GATEWAY_REST_ROUTES_H
#define GATEWAY_REST_ROUTES_H

#include "gateway/rest/state.h"

/* patient.c */
rest_handler patient_nonce;
rest_handler patient_token;
rest_handler patient_hospitals;
rest_handler patient_document;
rest_handler patient_records;
rest_handler patient_record;
rest_handler patient_record_document;
rest_handler patient_record_raw;
rest_handler machine_forward;

/* chain.c */
rest_handler chain_status;
rest_handler chain_blocks;
rest_handler chain_block;
rest_handler chain_transaction;
rest_handler chain_history;

/* admin.c */
rest_handler admin_status;
rest_handler admin_sources;
rest_handler admin_sync_progress;
rest_handler admin_sync_start;
rest_handler admin_sync_cancel;
rest_handler admin_quarantine;
rest_handler admin_quarantine_drop;
rest_handler admin_characters;
rest_handler admin_keysets;
rest_handler admin_patients;
rest_handler admin_enrol;
rest_handler admin_revoke;
rest_handler admin_hospitals;

/* health.c */
rest_handler health_live;
rest_handler health_ready;
rest_handler health_metrics;
rest_handler health_openapi;
rest_handler health_openapi_admin;

#endif
