-- The hospital's old system: PostgreSQL has no Shift_JIS inside, so such systems chose SQL_ASCII,
-- where the server looks at no byte, and put Shift_JIS into it.
CREATE TABLE treatments (
    "TreatmentID"      VARCHAR(16) NOT NULL PRIMARY KEY,
    "DoctorID"         INTEGER NOT NULL,
    "IdentificationID" VARCHAR(16) NOT NULL,
    "Problems"         TEXT NOT NULL,
    "Medications"      TEXT NOT NULL,
    "Vital Signs"      TEXT NOT NULL,
    "Orders"           TEXT NOT NULL,
    "RecordDate"       DATE NOT NULL
);
CREATE INDEX ON treatments ("IdentificationID");
\copy treatments FROM 'treatments.csv' WITH (FORMAT csv)
GRANT SELECT ON treatments TO renkei;
