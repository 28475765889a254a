-- The clinic: MariaDB, everything in cp932 (Windows' Shift_JIS), as systems of the 2000s have it.
CREATE DATABASE emr CHARACTER SET cp932;
USE emr;
CREATE TABLE patients (
    IdentificationID VARCHAR(16) NOT NULL PRIMARY KEY,
    patientID        VARCHAR(16) NOT NULL,
    userName         VARCHAR(64) NOT NULL,
    kana             VARCHAR(64) NOT NULL,
    gender           CHAR(1) NOT NULL,
    birthday         DATE NOT NULL,
    address          VARCHAR(128) NOT NULL
) ENGINE = InnoDB;
CREATE TABLE visits (
    RecordNo         INT NOT NULL PRIMARY KEY,
    DoctorID         INT NOT NULL,
    IdentificationID VARCHAR(16) NOT NULL,
    `Physical Exam`  VARCHAR(255) NOT NULL,
    Medications      VARCHAR(255) NOT NULL,
    Assessment       VARCHAR(255) NOT NULL,
    Allergy          TINYINT(1) NOT NULL,
    Timestamp        DATETIME NOT NULL,
    KEY (IdentificationID)
) ENGINE = InnoDB;
LOAD DATA LOCAL INFILE 'patients.csv' INTO TABLE patients CHARACTER SET cp932
    FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '';
LOAD DATA LOCAL INFILE 'visits.csv' INTO TABLE visits CHARACTER SET cp932
    FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '';
-- What Renkei gets: one account that may read, and nothing else.
CREATE USER renkei@localhost IDENTIFIED BY 'quickstart';
GRANT SELECT ON emr.* TO renkei@localhost;
