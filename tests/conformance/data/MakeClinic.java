/*
 * Makes clinic.mdb, an Access 2000 file of invented patients for the tests of MDBTools, with Jackcess
 * (Apache licence, used at this time only; the file itself is ours). What is in it stands in
 * clinic.json beside it, which the tests compare with.
 *
 *     mvn dependency:get -Dartifact=com.healthmarketscience.jackcess:jackcess:4.0.5
 *     java -cp <jackcess, commons-lang3 and commons-logging jars> MakeClinic.java clinic.mdb
 */
import com.healthmarketscience.jackcess.*;
import java.io.File;
import java.math.BigDecimal;
import java.time.LocalDateTime;
import java.util.UUID;

public class MakeClinic {
    static final String LONG = "長い所見。ソ表十予能 ".repeat(3000);

    public static void main(String[] args) throws Exception {
        File file = new File(args[0]);
        file.delete();
        byte[] scan = new byte[100000];
        for (int i = 0; i < scan.length; i++)
            scan[i] = (byte) (i * 7);
        try (Database db = DatabaseBuilder.create(Database.FileFormat.V2000, file)) {
            Table t = new TableBuilder("patients")
                .addColumn(new ColumnBuilder("no", DataType.LONG))
                .addColumn(new ColumnBuilder("pid", DataType.TEXT).setLengthInUnits(20))
                .addColumn(new ColumnBuilder("name", DataType.TEXT).setLengthInUnits(50))
                .addColumn(new ColumnBuilder("note", DataType.MEMO))
                .addColumn(new ColumnBuilder("seen", DataType.SHORT_DATE_TIME))
                .addColumn(new ColumnBuilder("fee", DataType.MONEY))
                .addColumn(new ColumnBuilder("smokes", DataType.BOOLEAN))
                .addColumn(new ColumnBuilder("weight", DataType.DOUBLE))
                .addColumn(new ColumnBuilder("ratio", DataType.FLOAT))
                .addColumn(new ColumnBuilder("visits", DataType.INT))
                .addColumn(new ColumnBuilder("ward", DataType.BYTE))
                .addColumn(new ColumnBuilder("dose", DataType.NUMERIC).setPrecision(18).setScale(6))
                .addColumn(new ColumnBuilder("uid", DataType.GUID))
                .addColumn(new ColumnBuilder("scan", DataType.OLE))
                .addIndex(new IndexBuilder(IndexBuilder.PRIMARY_KEY_NAME).addColumns("no").setPrimaryKey())
                .toTable(db);
            t.addRow(1, "p1", "山田 太郎", "髙﨑①㈱～－ソ表十", LocalDateTime.of(2011, 3, 24, 9, 30), new BigDecimal("12345.6789"),
                     true, 58.25, 0.5f, 3, 7, new BigDecimal("123456789012.345678"),
                     UUID.fromString("01234567-89ab-cdef-0123-456789abcdef"), new byte[] {0, 1, (byte) 0xFF, 65});
            t.addRow(2, "p2", "ソ表'\"\\|", LONG, LocalDateTime.of(1899, 12, 30, 0, 0), new BigDecimal("-0.0001"),
                     false, -1e-7, -1.5f, -32768, 255, new BigDecimal("-0.000001"), null, new byte[] {});
            t.addRow(3, "p1", "", "", LocalDateTime.of(9999, 12, 31, 23, 59, 59), new BigDecimal("922337203685477.5807"),
                     true, 0.1, 3.4028235e38f, 32767, 0, new BigDecimal("0"), null, null);
            t.addRow(4, "p4", null, null, null, null, false, null, null, null, null, null, null, null);
            t.addRow(5, "p5", "葛\uDB40\uDD00城 𠮷田", "一行目\r\n二行目\tタブ", LocalDateTime.of(1926, 12, 25, 0, 0),
                     new BigDecimal("0"), false, 123456789.123456789, 1e-3f, 0, 1, new BigDecimal("1"), null, scan);
            Table j = new TableBuilder("患者")
                .addColumn(new ColumnBuilder("番号", DataType.LONG))
                .addColumn(new ColumnBuilder("氏名", DataType.TEXT).setLengthInUnits(50))
                .toTable(db);
            j.addRow(1, "表 十");
            j.addRow(2, "予約");
        }
    }
}
