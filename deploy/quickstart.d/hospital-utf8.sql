-- The hospital's new system: PostgreSQL in UTF-8.
CREATE TABLE prescriptions (
    prescription_no    INTEGER NOT NULL PRIMARY KEY,
    "IdentificationID" VARCHAR(16) NOT NULL,
    medications        TEXT NOT NULL,
    prescribed         DATE NOT NULL
);
CREATE INDEX ON prescriptions ("IdentificationID");
\copy prescriptions FROM 'prescriptions.csv' WITH (FORMAT csv)
GRANT SELECT ON prescriptions TO renkei;
