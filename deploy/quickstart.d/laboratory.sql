-- The laboratory: a SQLite file behind unixODBC, its text raw Shift_JIS, its dates in Japanese eras.
CREATE TABLE results (
    result_no          INTEGER NOT NULL PRIMARY KEY,
    "IdentificationID" TEXT NOT NULL,
    test               TEXT NOT NULL,
    value              DECIMAL(8,2) NOT NULL,
    unit               TEXT NOT NULL,
    note               TEXT NOT NULL,
    abnormal           TEXT NOT NULL,
    reported           TEXT NOT NULL
);
CREATE INDEX results_of_patient ON results ("IdentificationID");
.mode csv
.import laboratory.csv results
