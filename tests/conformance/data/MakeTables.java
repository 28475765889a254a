/*
 * Makes the Access 2000 files in mdb/, one for each table that the conformance suite makes, with
 * Jackcess (Apache licence, used at this time only; the files themselves are ours): MDBTools cannot
 * write. The suite says what is to be in them, and reads a file only where it holds exactly that.
 * After a change of the suite's tables:
 *
 *     RENKEI_CONFORMANCE_RECORD=DIR python3 -m pytest tests/conformance/test_connectors.py -k mdbtools
 *     mvn dependency:get -Dartifact=com.healthmarketscience.jackcess:jackcess:4.0.5
 *     java -cp <jackcess, commons-lang3 and commons-logging jars> MakeTables.java DIR
 *     xz -9e DIR/*.mdb
 *
 * DIR/NAME.txt becomes DIR/NAME.mdb. Its lines are cells between tabs: the table's name, the columns'
 * names, their types (a primary key's begins with a star), the rows. A cell is -, or = and a number
 * or UTF-8 text or bytes, the last two in hexadecimal, and so is a name.
 */
import com.healthmarketscience.jackcess.*;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.HexFormat;
import java.util.List;

public class MakeTables {
    static byte[] bytes(String hex) {
        return HexFormat.of().parseHex(hex);
    }

    static String text(String hex) {
        return new String(bytes(hex), StandardCharsets.UTF_8);
    }

    static ColumnBuilder column(String name, String type) {
        if (type.equals("LONG"))
            return new ColumnBuilder(name, DataType.LONG);
        if (type.equals("MEMO"))
            return new ColumnBuilder(name, DataType.MEMO);
        if (type.equals("OLE"))
            return new ColumnBuilder(name, DataType.OLE);
        int units = Integer.parseInt(type.replaceAll("[^0-9]", ""));
        return new ColumnBuilder(name, DataType.TEXT).setLengthInUnits(units);
    }

    static Object value(String cell, String type) {
        if (cell.equals("-"))
            return null;
        String data = cell.substring(1);
        if (type.equals("LONG"))
            return Integer.valueOf(data);
        return type.equals("OLE") ? (Object) bytes(data) : text(data);
    }

    static void make(List<String> lines, File file) throws Exception {
        String[] names = lines.get(1).split("\t"), types = lines.get(2).split("\t");
        try (Database db = DatabaseBuilder.create(Database.FileFormat.V2000, file)) {
            TableBuilder builder = new TableBuilder(text(lines.get(0)));
            for (int i = 0; i < names.length; i++) {
                boolean primary = types[i].startsWith("*");
                types[i] = types[i].replace("*", "");
                builder.addColumn(column(text(names[i]), types[i]));
                if (primary)
                    builder.addIndex(new IndexBuilder(IndexBuilder.PRIMARY_KEY_NAME).addColumns(text(names[i])).setPrimaryKey());
            }
            Table table = builder.toTable(db);
            for (String line : lines.subList(3, lines.size())) {
                String[] cells = line.split("\t");
                Object[] row = new Object[cells.length];
                for (int i = 0; i < cells.length; i++)
                    row[i] = value(cells[i], types[i]);
                table.addRow(row);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        for (File spec : new File(args[0]).listFiles((folder, name) -> name.endsWith(".txt"))) {
            File file = new File(spec.getPath().replaceAll("txt$", "mdb"));
            file.delete();
            make(Files.readAllLines(spec.toPath()), file);
        }
    }
}
